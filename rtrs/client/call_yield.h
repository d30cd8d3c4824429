// Yields of the calls of a session that wait for each other.
//
// With many calls on few processors a call that yields comes back when the
// others have had their turn, often with its answer there: two switches of
// threads and two system calls less than sleeping and being woken. Where the
// processor goes to a thread that computes, it is worse than sleeping, and
// pauses.
//
// Times are in ns.
#ifndef RTRS_CLIENT_CALL_YIELD_H_
#define RTRS_CLIENT_CALL_YIELD_H_

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "rtrs/base/clock.h"
#include "rtrs/base/yield_pause.h"

namespace rtrs::client {

// Any thread.
class CallYield {
 public:
  // How often a call yields before it sleeps. With 16 threads on one processor
  // 4 KiB writes become a quarter faster; more changes nothing.
  static constexpr int kBeforeSleep = 16;

  // `wakeup_ns`: what a wake-up costs, the measure of how fast this machine is.
  explicit CallYield(int64_t wakeup_ns)
      : unit_ns_(std::max(kLeastUnitNs, wakeup_ns)) {}

  // By the clock of Yield.
  bool pays(int64_t now) const { return !pause_.paused(now); }

  // `now`: the time. `calls` counts all calls of the session. Returns the time
  // afterwards.
  int64_t Yield(int64_t now, const std::atomic<uint64_t>& calls) {
    const uint64_t before = calls.load(std::memory_order_relaxed);
    sched_yield();
    const int64_t after = MonotonicNs();
    pause_.OnYield(now, after,
                   Limit(calls.load(std::memory_order_relaxed) - before));
    return after;
  }

  // What a yield may take while `calls` others got going: half a wake-up for
  // each, and a few for whatever else the machine has to do.
  int64_t Limit(uint64_t calls) const {
    constexpr uint64_t kMostCalls = 1 << 16;
    return 8 * unit_ns_ +
           static_cast<int64_t>(std::min(calls, kMostCalls)) * unit_ns_ / 2;
  }

 private:
  static constexpr int64_t kLeastUnitNs = 40'000;
  // Of 64 threads some are unlucky now and then; beside a thread that computes,
  // several slices of that fit in here.
  static constexpr int64_t kWindowNs = 50'000'000;

  const int64_t unit_ns_;
  YieldPause pause_{kWindowNs};
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_CALL_YIELD_H_
