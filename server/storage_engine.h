// One interface to storage, three ways behind it: at once in the caller's
// thread (inline_io.h), io_uring (uring_engine.h), threads (pool_engine.h).
//
// A StorageOp is one operation on a Backing; it lives in the scratch room of
// the RTRS request, so that the data path allocates nothing. It belongs to the
// engine from Submit until `done` is called.
#ifndef SERVER_STORAGE_ENGINE_H_
#define SERVER_STORAGE_ENGINE_H_

#include <cstdint>

#include "absl/types/span.h"
#include "rtrs/server/server.h"

namespace rnbd::server {

class Backing;

// The memory of a session that an engine may register with the kernel.
// `slots` has one entry per worker, read and written by that worker only.
struct SessionMemory {
  static constexpr int16_t kUntried = -1;
  static constexpr int16_t kRefused = -2;
  absl::Span<uint8_t> bytes;
  absl::Span<int16_t> slots;
};

struct StorageOp {
  enum class Kind : uint8_t {
    kRead,
    kWrite,
    kSync,         // everything acknowledged so far is on stable storage
    kDiscard,      // the content is undefined afterwards
    kSecureErase,  // block devices only
    kZero,         // reads as zeros afterwards
    kReplicate,    // `data` (data_length bytes) over and over
  };

  Backing* backing = nullptr;
  Kind kind = Kind::kRead;
  bool dsync = false;               // kWrite: durable when done
  bool no_unmap = false;            // kZero: do not deallocate
  uint16_t priority = 0;            // Linux ioprio, 0: none
  uint32_t length = 0;              // bytes of the operation
  uint64_t offset = 0;              // bytes
  uint8_t* data = nullptr;          // kRead, kWrite: `length` bytes
  uint32_t data_length = 0;         // kReplicate
  uint32_t moved = 0;               // bytes transferred so far; the engine's
  SessionMemory* memory = nullptr;  // where `data` lies; may be null
  // Called exactly once on the worker's thread with 0 or a positive errno.
  void (*done)(StorageOp* op, int error) = nullptr;
  StorageOp* next = nullptr;  // the engine's
  int result = 0;             // the engine's
};

// One per worker; single-threaded, except where noted.
class StorageEngine : public rtrs::server::WorkerHook {
 public:
  // Starts `op`; `done` is called by a later Progress, never in here.
  virtual void Submit(StorageOp* op) = 0;
  // Drops what is kept for a file (by Backing::index and serial) that is no
  // longer used.
  virtual void ForgetFile(uint32_t index, uint64_t serial) = 0;
  // Drops a slot of SessionMemory::slots.
  virtual void ForgetMemory(int16_t slot) = 0;
  virtual const char* name() const = 0;
};

}  // namespace rnbd::server

#endif  // SERVER_STORAGE_ENGINE_H_
