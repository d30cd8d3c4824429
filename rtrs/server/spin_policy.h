// How long a worker that has nothing to do should poll before it sleeps.
//
// Waking a core that went idle costs 35-40 us on virtual machines, more than a
// small request takes: polling through a short gap saves it. Polling through a
// long one only takes the core away from others, so the recent gaps decide.
// Where many requests come at once they share a wake-up, and polling would only
// make them come one by one: the larger the batches, the shorter the gaps.
// Gaps up to a limit are polled through, much longer ones where a trial has
// shown that it pays (poll_trial.h).
// Between two looks the poller yields, unless that does not pay
// (rtrs/base/yield_pause.h). No clock of its own; one thread.
#ifndef RTRS_SERVER_SPIN_POLICY_H_
#define RTRS_SERVER_SPIN_POLICY_H_

#include <algorithm>
#include <cstdint>

#include "rtrs/base/yield_pause.h"
#include "rtrs/server/poll_trial.h"

namespace rtrs::server {

// Times are in ns of any origin.
class SpinPolicy {
 public:
  // Added to twice the mean of the gaps.
  static constexpr int64_t kSlack = 12'500;

  // A batch is what comes between two times without work. Larger ones divide
  // the limit.
  static constexpr int64_t kSmallBatch = 2;

  // What a trial multiplies the limit with.
  static constexpr int64_t kLonger = 8;

  // Polls no longer than `limit_ns` without work, if a trial has not shown that
  // more pays; 0: never polls.
  explicit SpinPolicy(int64_t limit_ns) : limit_(limit_ns), gap_(limit_ns) {}

  // There was work, with that many completions.
  void OnWork(int64_t now, uint64_t completions) {
    work_ += static_cast<int64_t>(completions);
    trial_.OnWork(completions);
    if (idle_since_ < 0) return;
    const int64_t gap = now - idle_since_;
    // A long gap counts as four limits: a few short ones outweigh it again.
    gap_ += (std::min(gap, 4 * limit()) - gap_) / 4;
    if (gap_ >= limit_ || trial_.polls()) {
      trial_.OnGap(now, gap);
    } else {
      trial_.Interrupt();
    }
    idle_since_ = -1;
  }

  // There was none: true if it pays to yield and look again.
  bool KeepPolling(int64_t now) {
    if (idle_since_ < 0) {
      idle_since_ = now;
      batch_ += (kScale * work_ - batch_) / 4;
      work_ = 0;
    }
    const int64_t shared =
        limit() * kScale * kSmallBatch / std::max(batch_, kScale * kSmallBatch);
    if (gap_ >= shared || pause_.paused(now)) return false;
    return now - idle_since_ < std::min(shared, 2 * gap_ + kSlack);
  }

  // The core was given away from `before` to `now`.
  void OnYield(int64_t before, int64_t now) {
    pause_.OnYield(before, now, 2 * limit());
  }

 private:
  static constexpr int64_t kScale = 256;

  int64_t limit() const { return trial_.polls() ? kLonger * limit_ : limit_; }

  const int64_t limit_;
  PollTrial trial_;
  int64_t gap_;        // moving average
  int64_t batch_ = 0;  // moving average, in parts of kScale
  int64_t work_ = 0;   // completions since there was none
  int64_t idle_since_ = -1;
  YieldPause pause_{0};
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_SPIN_POLICY_H_
