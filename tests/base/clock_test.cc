#include "rtrs/base/clock.h"

#include "gtest/gtest.h"

namespace rtrs {
namespace {

TEST(ClockTest, SystemClockNeverGoesBack) {
  const absl::Time first = Clock::System()->Now();
  EXPECT_LE(first, Clock::System()->Now());
}

TEST(ClockTest, MonotonicNsIsTheSystemClock) {
  const int64_t before = absl::ToUnixNanos(Clock::System()->Now());
  const int64_t between = MonotonicNs();
  EXPECT_LE(before, between);
  EXPECT_LE(between, absl::ToUnixNanos(Clock::System()->Now()));
}

TEST(ManualClockTest, MovesOnlyWhenTold) {
  ManualClock clock;
  const absl::Time start = clock.Now();
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(absl::Seconds(5));
  EXPECT_EQ(clock.Now() - start, absl::Seconds(5));
}

}  // namespace
}  // namespace rtrs
