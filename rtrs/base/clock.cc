#include "rtrs/base/clock.h"

#include <time.h>

namespace rtrs {
namespace {

class SystemClock : public Clock {
 public:
  absl::Time Now() override {
    timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return absl::TimeFromTimespec(ts);
  }
};

}  // namespace

Clock* Clock::System() {
  static auto* clock = new SystemClock;
  return clock;
}

}  // namespace rtrs
