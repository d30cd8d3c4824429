#include "rtrs/server/spin_policy.h"

#include <gtest/gtest.h>

namespace rtrs::server {
namespace {

constexpr int64_t kLimit = 100000;

// Work of `batch` completions that comes `gap` after the worker went idle,
// `times` times.
int64_t Repeat(SpinPolicy* policy, int64_t now, int64_t gap, int times,
               uint64_t batch = 1) {
  for (int i = 0; i < times; ++i) {
    policy->KeepPolling(now);
    now += gap;
    policy->OnWork(now, batch);
  }
  return now;
}

TEST(SpinPolicyTest, StartsAsleep) {
  SpinPolicy policy(kLimit);
  EXPECT_FALSE(policy.KeepPolling(0));
}

TEST(SpinPolicyTest, PollsThroughShortGaps) {
  SpinPolicy policy(kLimit);
  const int64_t now = Repeat(&policy, 0, 20000, 50);
  EXPECT_TRUE(policy.KeepPolling(now));
  EXPECT_TRUE(policy.KeepPolling(now + 20000));
}

TEST(SpinPolicyTest, GivesUpWellBeforeTheLimitWhenGapsAreShort) {
  SpinPolicy policy(kLimit);
  const int64_t now = Repeat(&policy, 0, 5000, 50);
  EXPECT_TRUE(policy.KeepPolling(now));
  EXPECT_FALSE(policy.KeepPolling(now + 40000));
}

TEST(SpinPolicyTest, SleepsThroughLongGaps) {
  SpinPolicy policy(kLimit);
  int64_t now = Repeat(&policy, 0, 20000, 50);
  now = Repeat(&policy, now, 1000000, 5);
  EXPECT_FALSE(policy.KeepPolling(now));
}

TEST(SpinPolicyTest, PollsAgainAfterAFewShortGaps) {
  SpinPolicy policy(kLimit);
  int64_t now = Repeat(&policy, 0, 1000000000, 10);
  now = Repeat(&policy, now, 20000, 10);
  EXPECT_TRUE(policy.KeepPolling(now));
}

TEST(SpinPolicyTest, SleepsBetweenLargeBatches) {
  SpinPolicy policy(kLimit);
  int64_t now = Repeat(&policy, 0, 20000, 50, 2);
  EXPECT_TRUE(policy.KeepPolling(now));
  now = Repeat(&policy, now, 20000, 50, 20);
  EXPECT_FALSE(policy.KeepPolling(now));
  now = Repeat(&policy, now, 2000, 50, 20);
  EXPECT_TRUE(policy.KeepPolling(now));
}

TEST(SpinPolicyTest, ABatchLastsUntilThereIsNoWork) {
  SpinPolicy policy(kLimit);
  int64_t now = 0;
  for (int i = 0; i < 50; ++i) {
    policy.KeepPolling(now);
    now += 20000;
    for (int k = 0; k < 20; ++k) policy.OnWork(now, 1);
  }
  EXPECT_FALSE(policy.KeepPolling(now));
}

// Answers of a client that waits for each come after `slept` when the worker
// slept, after `polled` when it polled. Returns whether it polls in the end.
bool PollsAfter(SpinPolicy* policy, int64_t slept, int64_t polled) {
  int64_t now = 0;
  bool polls = false;
  for (int i = 0; i < 1000; ++i) {
    polls = policy->KeepPolling(now) && policy->KeepPolling(now + polled);
    now += polls ? polled : slept;
    policy->OnWork(now, 1);
  }
  return polls;
}

TEST(SpinPolicyTest, PollsThroughLongerGapsWhereThatIsFaster) {
  SpinPolicy policy(kLimit);
  EXPECT_TRUE(PollsAfter(&policy, 4 * kLimit, 2 * kLimit));
}

TEST(SpinPolicyTest, SleepsThroughLongerGapsWhereThatIsAsFast) {
  SpinPolicy policy(kLimit);
  EXPECT_FALSE(PollsAfter(&policy, 2 * kLimit, 2 * kLimit));
}

TEST(SpinPolicyTest, SleepsThroughGapsThatAreLongerStill) {
  SpinPolicy policy(kLimit);
  EXPECT_FALSE(PollsAfter(&policy, 2 * SpinPolicy::kLonger * kLimit,
                          SpinPolicy::kLonger * kLimit));
}

TEST(SpinPolicyTest, NeverPollsWithoutALimit) {
  SpinPolicy policy(0);
  const int64_t now = Repeat(&policy, 0, 1000, 50);
  EXPECT_FALSE(policy.KeepPolling(now));
}

TEST(SpinPolicyTest, PausesWhenAnotherThreadKeepsTheCore) {
  SpinPolicy policy(kLimit);
  int64_t now = Repeat(&policy, 0, 20000, 50);
  ASSERT_TRUE(policy.KeepPolling(now));
  policy.OnYield(now, now + 3000000);
  now += 3000000;
  policy.OnWork(now, 1);
  EXPECT_FALSE(policy.KeepPolling(now));
  now = Repeat(&policy, now, 20000, 50);
  EXPECT_FALSE(policy.KeepPolling(now));
  now = Repeat(&policy, now + YieldPause::kMin, 20000, 50);
  EXPECT_TRUE(policy.KeepPolling(now));
}

TEST(SpinPolicyTest, ShortYieldsDoNotMatter) {
  SpinPolicy policy(kLimit);
  const int64_t now = Repeat(&policy, 0, 20000, 50);
  policy.OnYield(now, now + 20000);
  EXPECT_TRUE(policy.KeepPolling(now + 20000));
}

}  // namespace
}  // namespace rtrs::server
