#include "rtrs/base/clock.h"

#include <time.h>

namespace rtrs {
namespace {

timespec MonotonicNow() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts;
}

class SystemClock : public Clock {
 public:
  absl::Time Now() override { return absl::TimeFromTimespec(MonotonicNow()); }
};

}  // namespace

int64_t MonotonicNs() {
  const timespec ts = MonotonicNow();
  return int64_t{ts.tv_sec} * 1'000'000'000 + ts.tv_nsec;
}

Clock* Clock::System() {
  static auto* clock = new SystemClock;
  return clock;
}

}  // namespace rtrs
