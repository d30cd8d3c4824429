// How long a poller looks for a response before it sleeps.
//
// Spinning saves a wake-up, which costs more than a short round trip; but on
// few cores it also takes time from the server that is waited for. So it is
// measured: response times give the budget, and a budget that was spent in
// vain is cut until responses are fast again. Guarded by the engine's lock.
#ifndef RTRS_CLIENT_SPIN_BUDGET_H_
#define RTRS_CLIENT_SPIN_BUDGET_H_

#include <algorithm>
#include <cstdint>

namespace rtrs::client {

class SpinBudget {
 public:
  // A response that takes longer is not worth spinning for.
  static constexpr int64_t kLongestNs = 150'000;

  // How long to spin for the next response, ns; 0: not at all.
  int64_t budget_ns() const {
    if (mean_ns_ > kLongestNs) return 0;
    return std::min(kLongestNs, 2 * mean_ns_ + 10'000);
  }

  // A wait ended after `ns`, of sleeping or spinning.
  void OnWait(int64_t ns) {
    // A single very slow answer must not count for long.
    mean_ns_ += (std::min(ns, 4 * kLongestNs) - mean_ns_) / 8;
  }

 private:
  int64_t mean_ns_ = 50'000;  // of the waits, exponentially weighted
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_SPIN_BUDGET_H_
