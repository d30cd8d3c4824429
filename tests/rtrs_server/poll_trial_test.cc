#include "rtrs/server/poll_trial.h"

#include <gtest/gtest.h>

#include <functional>

namespace rtrs::server {
namespace {

constexpr int64_t kGap = 400'000;

// A client of one request at a time, whose answers take as long as it says.
class PollTrialTest : public testing::Test {
 protected:
  // Gaps for `time`; `gap` gives the length of one by whether it is polled
  // through. Returns which part of the time was.
  double Run(int64_t time, const std::function<int64_t(bool polls)>& gap) {
    int64_t polled = 0;
    const int64_t end = now_ + time;
    while (now_ < end) {
      const bool polls = trial_.polls();
      const int64_t length = gap(polls);
      now_ += length;
      if (polls) polled += length;
      trial_.OnWork(1);
      trial_.OnGap(now_, length);
    }
    return static_cast<double>(polled) / static_cast<double>(time);
  }

  static int64_t FasterWhenPolled(bool polls) {
    return polls ? kGap / 2 : kGap;
  }
  static int64_t AtItsOwnRate(bool) { return kGap; }

  int64_t now_ = 1'000'000'000;
  PollTrial trial_;
};

constexpr int64_t kLong = 40'000'000'000;

TEST_F(PollTrialTest, SleepsAtFirst) { EXPECT_FALSE(trial_.polls()); }

TEST_F(PollTrialTest, PollsForAClientThatGetsFaster) {
  EXPECT_GT(Run(kLong, FasterWhenPolled), 0.98);
}

TEST_F(PollTrialTest, FindsOutSoon) {
  Run(3 * kGap * PollTrial::kGaps, FasterWhenPolled);
  EXPECT_TRUE(trial_.polls());
}

TEST_F(PollTrialTest, SleepsForAClientWithARateOfItsOwn) {
  EXPECT_LT(Run(kLong, AtItsOwnRate), 0.02);
  EXPECT_FALSE(trial_.polls());
}

TEST_F(PollTrialTest, ALittleFasterIsNotEnough) {
  EXPECT_LT(Run(kLong, [](bool polls) { return polls ? kGap * 9 / 10 : kGap; }),
            0.02);
}

TEST_F(PollTrialTest, NoticesThatItPaysNoMore) {
  Run(kLong, FasterWhenPolled);
  Run(2 * PollTrial::kMaxInterval, AtItsOwnRate);
  EXPECT_LT(Run(kLong, AtItsOwnRate), 0.02);
}

TEST_F(PollTrialTest, NoticesThatItPaysNow) {
  Run(kLong, AtItsOwnRate);
  Run(2 * PollTrial::kMaxInterval, FasterWhenPolled);
  EXPECT_GT(Run(kLong, FasterWhenPolled), 0.9);
}

TEST_F(PollTrialTest, CountsRequestsNotGaps) {
  // Twice as many gaps, for the same number of requests.
  for (int i = 0; i < 100'000; ++i) {
    const bool polls = trial_.polls();
    now_ += polls ? kGap / 2 : kGap;
    trial_.OnWork(polls ? 1 : 2);
    trial_.OnGap(now_, polls ? kGap / 2 : kGap);
  }
  EXPECT_FALSE(trial_.polls());
}

TEST_F(PollTrialTest, WhatWasInterruptedDoesNotCount) {
  for (int i = 0; i < 10; ++i) {
    Run(kGap * (PollTrial::kGaps - 1), FasterWhenPolled);
    trial_.Interrupt();
    EXPECT_FALSE(trial_.polls());
  }
}

TEST_F(PollTrialTest, ForgetsAfterALongGap) {
  Run(kLong, FasterWhenPolled);
  Run(1, [](bool) { return PollTrial::kIdle + 1; });
  EXPECT_FALSE(trial_.polls());
}

}  // namespace
}  // namespace rtrs::server
