// Storage operations by plain system calls.
#ifndef SERVER_BLOCKING_IO_H_
#define SERVER_BLOCKING_IO_H_

#include <sys/types.h>

#include "server/storage_engine.h"

namespace rnbd::server {

// Does `op` in this thread, which may block; returns 0 or a positive errno.
// Any thread; does not call op->done.
int PerformBlocking(StorageOp* op);

// Tries to do `op` without blocking (Backing::inline_io). True if it is done,
// with its result in *error; false if it is for an engine, which continues
// where this stopped. The worker's thread.
bool TryInline(StorageOp* op, int* error);

// Accounts for a read or write that returned `result` (bytes or a negative
// errno). True if the operation has ended, with its result in *error; false
// if the rest of it must be done. Nothing more to read is EIO: the file ends
// before the device does.
bool Advance(StorageOp* op, ssize_t result, int* error);

// Whether the alignment of memory, offset and length suits the descriptor.
bool IsAligned(const StorageOp& op);

}  // namespace rnbd::server

#endif  // SERVER_BLOCKING_IO_H_
