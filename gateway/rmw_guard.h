// Keeps read-modify-write of a block apart from other writes to that block.
//
// An unaligned write reads the blocks at its edges, changes them and writes
// them back. Two of them on one block exclude each other by a lock on the
// range. An aligned write must not lie between the read and the write-back of
// another thread, or it would be undone; but aligned writes are the fast path
// and take no lock. They look at the guard before and after instead:
//
//   uint64_t seen = guard.Begin();
//   ... send the aligned write, wait for its answer ...
//   if (guard.Disturbed(seen, begin, end)) {
//     RmwGuard::Lock lock(&guard, begin, end, RmwGuard::kWhole);
//     ... send the same write again ...
//   }
//
// If a read-modify-write of an overlapping range ran at any time in between,
// the write may have been undone, and since it is not answered to its caller
// yet, it may be written again. With no unaligned write at that time the price
// is two loads and a comparison. (A lost write needs: read-modify-write read
// its blocks before the aligned write reached the device. Its Lock was taken
// before that, so the second look of the aligned write, which happens after
// the answer of the device, sees it.)
//
// Only the client that overlaps its own writes in flight can see the
// repetition, and for those NBD promises no order.
//
// Any thread.
#ifndef GATEWAY_RMW_GUARD_H_
#define GATEWAY_RMW_GUARD_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "gateway/geometry.h"
#include "rtrs/base/mutex.h"

namespace rnbd::gateway {

class RmwGuard {
 public:
  enum Kind {
    kRmw,    // reads, changes, writes back
    kWhole,  // writes whole blocks: undoes nothing of others
  };

  // Holds [begin, end) against other Locks; waits for those that overlap.
  class Lock {
   public:
    Lock(RmwGuard* guard, uint64_t begin, uint64_t end, Kind kind);
    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    RmwGuard* const guard_;
    const ByteRange range_;
    const Kind kind_;
  };

  uint64_t Begin() const { return word_.load(std::memory_order_acquire); }

  // Whether a kRmw Lock that overlaps [begin, end) was held at any time since
  // `seen`. May say yes when it cannot tell.
  bool Disturbed(uint64_t seen, uint64_t begin, uint64_t end) const {
    return (word_.load(std::memory_order_acquire) != seen ||
            Started(seen) != Finished(seen)) &&
           DisturbedSlow(seen, begin, end);
  }

 private:
  static constexpr size_t kHistory = 64;

  // The word counts kRmw locks: begun in the upper half, ended in the lower.
  // The halves wrap, which needs 2^32 locks within one write to matter.
  static uint32_t Started(uint64_t word) {
    return static_cast<uint32_t>(word >> 32);
  }
  static uint32_t Finished(uint64_t word) {
    return static_cast<uint32_t>(word);
  }
  void SetWord(uint32_t started, uint32_t finished)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Overlaps(ByteRange range) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool DisturbedSlow(uint64_t seen, uint64_t begin, uint64_t end) const;

  std::atomic<uint64_t> word_{0};
  mutable rtrs::Mutex mu_;
  rtrs::CondVar released_;
  struct Held {
    ByteRange range;
    Kind kind;
  };
  std::vector<Held> held_ ABSL_GUARDED_BY(mu_);
  // The ranges of the last kRmw locks that ended; number n at n % kHistory.
  std::array<ByteRange, kHistory> history_ ABSL_GUARDED_BY(mu_);
};

}  // namespace rnbd::gateway

#endif  // GATEWAY_RMW_GUARD_H_
