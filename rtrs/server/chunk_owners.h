// One owner word per chunk of a session: which operation uses the memory.
// wire.md §5.3, last paragraph.
//
// A client that fails over sends the request of chunk n again on another path
// while the first copy may still run. The word is the head of a list of
// operations: its last element owns the chunk, those before it wait for their
// turn, the newest first. Only the owner takes itself out, so that the list
// can be walked without a lock. Any thread.
#ifndef RTRS_SERVER_CHUNK_OWNERS_H_
#define RTRS_SERVER_CHUNK_OWNERS_H_

#include <atomic>
#include <cstdint>
#include <vector>

#include "rtrs/server/operation.h"

namespace rtrs::server {

class ChunkOwners {
 public:
  explicit ChunkOwners(uint32_t queue_depth) : heads_(queue_depth) {}

  // True if `op` owns its chunk now; otherwise Release of an earlier one will
  // return it. `op` is in no list.
  bool Claim(Operation* op) {
    std::atomic<Operation*>& head = heads_[op->buf_id];
    Operation* seen = head.load(std::memory_order_relaxed);
    do {
      op->next_owner = seen;
    } while (!head.compare_exchange_weak(seen, op, std::memory_order_acq_rel,
                                         std::memory_order_relaxed));
    return seen == nullptr;
  }

  // Called by the owner. Returns the operation that owns the chunk now, which
  // the caller has to start on its worker, or null.
  Operation* Release(Operation* op) {
    std::atomic<Operation*>& head = heads_[op->buf_id];
    Operation* seen = op;
    if (head.compare_exchange_strong(seen, nullptr, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
      return nullptr;
    }
    while (seen->next_owner != op) seen = seen->next_owner;
    seen->next_owner = nullptr;
    return seen;
  }

 private:
  std::vector<std::atomic<Operation*>> heads_;
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_CHUNK_OWNERS_H_
