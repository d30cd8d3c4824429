// The clock that engines are given. Tests inject their own.
#ifndef RTRS_BASE_CLOCK_H_
#define RTRS_BASE_CLOCK_H_

#include <cstdint>

#include "absl/time/time.h"

namespace rtrs {

// absl::ToUnixNanos(Clock::System()->Now()), for hot paths: CLOCK_MONOTONIC in
// ns. Any thread.
int64_t MonotonicNs();

// Monotonic time. Values are only comparable with values of the same clock.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() = 0;

  // CLOCK_MONOTONIC. Never destroyed; any thread.
  static Clock* System();
};

// A clock that stands still until it is told to move. One thread.
class ManualClock : public Clock {
 public:
  absl::Time Now() override { return now_; }
  void Advance(absl::Duration by) { now_ += by; }

 private:
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
};

}  // namespace rtrs

#endif  // RTRS_BASE_CLOCK_H_
