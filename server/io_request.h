// The data path: one IO message from its check to its answer. wire.md §7.5,
// traps 37-39.
//
// Lives in the scratch room of the RTRS request; allocates nothing, takes no
// lock, and logs only failures.
#ifndef SERVER_IO_REQUEST_H_
#define SERVER_IO_REQUEST_H_

#include "rtrs/server/request.h"
#include "rtrs/wire/rnbd_messages.h"
#include "server/device_table.h"
#include "server/storage_engine.h"

namespace rnbd::server {

// What an IO message is done with.
struct IoContext {
  DeviceTable* devices = nullptr;
  SessionMemory* memory = nullptr;
  StorageEngine* engine = nullptr;  // of the request's worker
  bool use_priority = false;        // the session's protocol version has it
  bool realtime_priority = false;   // the process may use the realtime class
};

// Checks `io`, executes it and completes `request`, in here or later on the
// same worker.
void StartIo(rtrs::server::Request* request, const wire::Io& io,
             const IoContext& context);

// The errno of the storage as it goes to the client: only those that a
// client's block layer knows, EIO for the others.
int WireErrno(int error);

}  // namespace rnbd::server

#endif  // SERVER_IO_REQUEST_H_
