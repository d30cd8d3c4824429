#include "rtrs/client/call_yield.h"

#include <gtest/gtest.h>

#include <atomic>

namespace rtrs::client {
namespace {

constexpr int64_t kWakeup = 100'000;

TEST(CallYieldTest, AYieldMayTakeLongerWhenOthersGotGoing) {
  const CallYield yield(kWakeup);
  EXPECT_EQ(yield.Limit(0), 8 * kWakeup);
  EXPECT_EQ(yield.Limit(10), 13 * kWakeup);
}

TEST(CallYieldTest, TheLimitHasABound) {
  const CallYield yield(kWakeup);
  EXPECT_EQ(yield.Limit(UINT64_MAX), yield.Limit(1 << 16));
}

TEST(CallYieldTest, AMachineThatWakesFastIsNotTakenAtItsWord) {
  EXPECT_GE(CallYield(1).Limit(0), 100'000);
}

TEST(CallYieldTest, PausesAfterAYieldThatSeemsLong) {
  CallYield yield(kWakeup);
  const std::atomic<uint64_t> calls{0};
  const int64_t now = MonotonicNs();
  EXPECT_TRUE(yield.pays(now));
  // As if it had begun a second ago.
  const int64_t after = yield.Yield(now - 1'000'000'000, calls);
  EXPECT_GE(after, now);
  EXPECT_FALSE(yield.pays(after));
}

}  // namespace
}  // namespace rtrs::client
