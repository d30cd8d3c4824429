// How long a worker that has nothing to do should poll before it sleeps.
//
// A wake-up costs 35-40 us on virtual machines, more than a small request
// takes: polling through a short gap saves it. Polling through a long one only
// takes the core away from others, so the recent gaps decide. No clock of its
// own; one thread.
#ifndef RTRS_SERVER_SPIN_POLICY_H_
#define RTRS_SERVER_SPIN_POLICY_H_

#include <algorithm>
#include <cstdint>

namespace rtrs::server {

class SpinPolicy {
 public:
  // Never polls longer than `limit_ns` without work; 0: never polls.
  explicit SpinPolicy(int64_t limit_ns) : limit_(limit_ns), gap_(limit_ns) {}

  // There was work at `now` (ns, any origin).
  void OnWork(int64_t now) {
    if (idle_since_ >= 0) {
      // A long gap counts as four limits: a few short ones outweigh it again.
      const int64_t gap = std::min(now - idle_since_, 4 * limit_);
      gap_ += (gap - gap_) / 4;
      idle_since_ = -1;
    }
  }

  // There was none at `now`: true if it pays to look again.
  bool KeepPolling(int64_t now) {
    if (idle_since_ < 0) idle_since_ = now;
    if (gap_ >= limit_) return false;
    return now - idle_since_ < std::min(limit_, 2 * gap_ + limit_ / 8);
  }

  int64_t expected_gap() const { return gap_; }

 private:
  const int64_t limit_;
  int64_t gap_;  // moving average
  int64_t idle_since_ = -1;
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_SPIN_POLICY_H_
