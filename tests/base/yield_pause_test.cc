#include "rtrs/base/yield_pause.h"

#include <gtest/gtest.h>

namespace rtrs {
namespace {

constexpr int64_t kLimit = 1'000'000;
constexpr int64_t kStart = 5'000'000'000;

// A yield that takes too long and ends at `now`.
void LongYield(YieldPause* pause, int64_t now) {
  pause->OnYield(now - 2 * kLimit, now, kLimit);
}

TEST(YieldPauseTest, DoesNotPauseAtFirst) {
  YieldPause pause(0);
  EXPECT_FALSE(pause.paused(kStart));
}

TEST(YieldPauseTest, ShortYieldsDoNotPause) {
  YieldPause pause(0);
  pause.OnYield(kStart - kLimit, kStart, kLimit);
  EXPECT_FALSE(pause.paused(kStart));
}

TEST(YieldPauseTest, ALongYieldPausesForAWhile) {
  YieldPause pause(0);
  LongYield(&pause, kStart);
  EXPECT_TRUE(pause.paused(kStart));
  EXPECT_TRUE(pause.paused(kStart + YieldPause::kMin - 1));
  EXPECT_FALSE(pause.paused(kStart + YieldPause::kMin));
}

TEST(YieldPauseTest, EachPauseIsTwiceAsLong) {
  YieldPause pause(0);
  LongYield(&pause, kStart);
  const int64_t second = kStart + YieldPause::kMin;
  LongYield(&pause, second);
  EXPECT_TRUE(pause.paused(second + 2 * YieldPause::kMin - 1));
  EXPECT_FALSE(pause.paused(second + 2 * YieldPause::kMin));
}

TEST(YieldPauseTest, NoPauseIsLongerThanTheLongest) {
  YieldPause pause(0);
  int64_t now = kStart;
  for (int i = 0; i < 20; ++i) {
    LongYield(&pause, now);
    while (pause.paused(now)) now += YieldPause::kMin;
  }
  LongYield(&pause, now);
  EXPECT_TRUE(pause.paused(now + YieldPause::kMax - 1));
  EXPECT_FALSE(pause.paused(now + YieldPause::kMax));
}

TEST(YieldPauseTest, ShortYieldsForLongEnoughBeginAnew) {
  YieldPause pause(0);
  LongYield(&pause, kStart);
  const int64_t later = kStart + 3 * YieldPause::kMin + 1;
  pause.OnYield(later - 1, later, kLimit);
  LongYield(&pause, later);
  EXPECT_TRUE(pause.paused(later + YieldPause::kMin - 1));
  EXPECT_FALSE(pause.paused(later + YieldPause::kMin));
}

constexpr int64_t kWindow = 50'000'000;

// Long yields of `length`, with `gap` between them, for `time` from `now` on.
// Returns whether they made a pause.
bool LongYields(YieldPause* pause, int64_t now, int64_t length, int64_t gap,
                int64_t time) {
  for (const int64_t end = now + time; now < end; now += gap) {
    pause->OnYield(now, now + length, kLimit);
    now += length;
    if (pause->paused(now)) return true;
  }
  return false;
}

TEST(YieldPauseWindowTest, OneLongYieldIsForgiven) {
  YieldPause pause(kWindow);
  EXPECT_FALSE(LongYields(&pause, kStart, 4 * kLimit, kLimit, kLimit));
}

TEST(YieldPauseWindowTest, PausesWhenLongYieldsTakeMostOfTheTime) {
  YieldPause pause(kWindow);
  EXPECT_TRUE(LongYields(&pause, kStart, 4 * kLimit, kLimit, 2 * kWindow));
}

TEST(YieldPauseWindowTest, ForgivesAnyNumberThatTakesLittleOfTheTime) {
  YieldPause pause(kWindow);
  EXPECT_FALSE(
      LongYields(&pause, kStart, 4 * kLimit, 12 * kLimit, 100 * kWindow));
}

TEST(YieldPauseWindowTest, ManyThreadsThatYieldAtOnceCountOnce) {
  YieldPause pause(kWindow);
  for (int64_t now = kStart; now < kStart + 10 * kWindow; now += kWindow / 2) {
    for (int i = 0; i < 16; ++i) {
      pause.OnYield(now + i, now + kWindow / 8 + i, kLimit);
    }
    EXPECT_FALSE(pause.paused(now + kWindow / 8));
  }
}

TEST(YieldPauseWindowTest, PausesGrowAlthoughAWindowLiesBetween) {
  YieldPause pause(kWindow);
  int64_t now = kStart;
  for (int i = 0; i < 5; ++i) {
    while (!pause.paused(now)) {
      pause.OnYield(now, now + 4 * kLimit, kLimit);
      now += 4 * kLimit;
      pause.OnYield(now, now + 1, kLimit);
    }
    if (i < 4) {
      while (pause.paused(now)) now += kLimit;
    }
  }
  EXPECT_TRUE(pause.paused(now + 15 * YieldPause::kMin));
}

}  // namespace
}  // namespace rtrs
