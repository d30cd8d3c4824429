// When to try again: pauses that double up to a limit, with jitter so that
// the paths and clients of one server do not come back in step. Owned by a
// path's slot in the session; one thread.
#ifndef RTRS_CLIENT_BACKOFF_H_
#define RTRS_CLIENT_BACKOFF_H_

#include <algorithm>

#include "absl/time/time.h"
#include "rtrs/base/random.h"

namespace rtrs::client {

class Backoff {
 public:
  // 0 < `shortest` <= `longest`.
  Backoff(absl::Duration shortest, absl::Duration longest)
      : shortest_(shortest), longest_(longest), next_(shortest) {}

  // The pause before the next attempt: between half and all of what is due.
  absl::Duration Next(Random& random) {
    const absl::Duration whole = next_;
    next_ = std::min(2 * next_, longest_);
    const int64_t half = absl::ToInt64Microseconds(whole / 2);
    return absl::Microseconds(half + static_cast<int64_t>(random.Below(
                                         static_cast<uint64_t>(half) + 1)));
  }
  // An attempt succeeded.
  void Reset() { next_ = shortest_; }

 private:
  const absl::Duration shortest_;
  const absl::Duration longest_;
  absl::Duration next_;
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_BACKOFF_H_
