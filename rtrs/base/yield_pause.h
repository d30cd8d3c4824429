// Notices that yielding does not pay at the moment, and pauses it.
//
// A thread that waits by yielding gets the processor back within microseconds
// when all others that want it work for the same request. One that computes (a
// virtual machine's, say) keeps it for milliseconds; then sleeping is better,
// since the scheduler prefers who wakes up over who yielded.
//
//   if (!pause.paused(now)) {
//     sched_yield();
//     pause.OnYield(now, after, limit);
//   }
#ifndef RTRS_BASE_YIELD_PAUSE_H_
#define RTRS_BASE_YIELD_PAUSE_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "rtrs/base/mutex.h"

namespace rtrs {

// Times are in ns of any origin. Any thread.
class YieldPause {
 public:
  // How long a pause is: twice as long each time.
  static constexpr int64_t kMin = 10'000'000;
  static constexpr int64_t kMax = 1'000'000'000;

  // A pause is made when long yields took half of the last `window`; 0: at the
  // first of them.
  explicit YieldPause(int64_t window) : window_(window) {}

  bool paused(int64_t now) const {
    return now < until_.load(std::memory_order_relaxed);
  }

  // The processor was given away from `before` to `now`, which should not take
  // longer than `limit`.
  void OnYield(int64_t before, int64_t now, int64_t limit) {
    if (now - before > limit) {
      OnLongYield(before, now);
    } else if (length_.load(std::memory_order_relaxed) != 0) {
      OnShortYield(now);
    }
  }

 private:
  void OnLongYield(int64_t before, int64_t now) {
    MutexLock lock(&mu_);
    if (paused(now)) return;  // it began before the pause
    if (before > start_ + 2 * window_) {
      start_ = counted_ = before;
      long_ns_ = 0;
    }
    // Those of several threads at the same time count once.
    const int64_t from = std::max(before, counted_);
    long_ns_ += std::max(now, from) - from;
    counted_ = std::max(counted_, now);
    if (now - start_ < window_) return;
    if (2 * long_ns_ >= now - start_) {
      const int64_t length =
          std::clamp(2 * length_.load(std::memory_order_relaxed), kMin, kMax);
      length_.store(length, std::memory_order_relaxed);
      until_.store(now + length, std::memory_order_relaxed);
    }
    start_ = counted_ = now;
    long_ns_ = 0;
  }

  // The next pause is a short one if it has gone well for long enough.
  void OnShortYield(int64_t now) {
    MutexLock lock(&mu_);
    const int64_t well = now - until_.load(std::memory_order_relaxed);
    if (well > 2 * (length_.load(std::memory_order_relaxed) + window_)) {
      length_.store(0, std::memory_order_relaxed);
    }
  }

  const int64_t window_;
  std::atomic<int64_t> until_{0};  // of the last pause
  // Of that pause, until it is forgotten. Written with mu_.
  std::atomic<int64_t> length_{0};
  Mutex mu_;
  // Of the window.
  int64_t start_ ABSL_GUARDED_BY(mu_) = -1;
  int64_t counted_ ABSL_GUARDED_BY(mu_) = -1;  // until then
  int64_t long_ns_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace rtrs

#endif  // RTRS_BASE_YIELD_PAUSE_H_
