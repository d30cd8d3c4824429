// How long a poller looks for a response before it sleeps.
//
// Spinning saves a wake-up, which costs more than a short round trip; but on
// few cores it also takes time from the server that is waited for. So it is
// measured: response times give the budget, and a budget that was spent in
// vain is cut until responses are fast again. Guarded by the engine's lock.
//
// Times are in ns.
#ifndef RTRS_CLIENT_SPIN_BUDGET_H_
#define RTRS_CLIENT_SPIN_BUDGET_H_

#include <algorithm>
#include <cstdint>

namespace rtrs::client {

class SpinBudget {
 public:
  // `wakeup_ns`: what a wake-up costs. A response that takes four times as long
  // is not worth spinning for.
  explicit SpinBudget(int64_t wakeup_ns = 0)
      : longest_ns_(std::max(kLeastLongestNs, 4 * wakeup_ns)) {}

  // How long to spin for the next response, ns; 0: not at all.
  int64_t budget_ns() const {
    if (mean_ns_ > longest_ns_) return 0;
    return std::min(longest_ns_, 2 * mean_ns_ + 10'000);
  }

  // A wait ended after `ns`, of sleeping or spinning.
  void OnWait(int64_t ns) {
    // A single very slow answer must not count for long.
    mean_ns_ += (std::min(ns, 4 * longest_ns_) - mean_ns_) / 8;
  }

 private:
  static constexpr int64_t kLeastLongestNs = 150'000;

  const int64_t longest_ns_;
  int64_t mean_ns_ = 50'000;  // of the waits, exponentially weighted
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_SPIN_BUDGET_H_
