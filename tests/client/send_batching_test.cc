#include "rtrs/client/send_batching.h"

#include <gtest/gtest.h>

namespace rtrs::client {
namespace {

TEST(SendBatchingTest, SendsWhileNothingIsInFlight) {
  SendBatching batching;
  EXPECT_FALSE(batching.LeaveToPoller(64));
  batching.OnDrain(0, /*quick=*/true);
  EXPECT_FALSE(batching.LeaveToPoller(1));
}

TEST(SendBatchingTest, WaitsForAnswersThatAreDue) {
  SendBatching batching;
  batching.OnDrain(21, /*quick=*/true);
  EXPECT_TRUE(batching.LeaveToPoller(64));
  EXPECT_TRUE(batching.LeaveToPoller(2));
}

TEST(SendBatchingTest, KeepsAPartOfTheCallsAtTheServer) {
  SendBatching batching;
  batching.OnDrain(20, /*quick=*/true);
  EXPECT_FALSE(batching.LeaveToPoller(64));
}

TEST(SendBatchingTest, FewCallsAreSentAtOnce) {
  SendBatching batching;
  batching.OnDrain(SendBatching::kFewInFlight - 1, /*quick=*/true);
  EXPECT_FALSE(batching.LeaveToPoller(4));
}

TEST(SendBatchingTest, DoesNotWaitForSlowAnswers) {
  SendBatching batching;
  batching.OnDrain(64, /*quick=*/true);
  batching.OnDrain(64, /*quick=*/false);
  EXPECT_FALSE(batching.LeaveToPoller(64));
}

TEST(SendBatchingTest, TellsWhetherAnswersAreDue) {
  SendBatching batching;
  EXPECT_FALSE(batching.AnswersDue());
  batching.OnDrain(1, /*quick=*/true);
  EXPECT_TRUE(batching.AnswersDue());
  batching.OnDrain(1, /*quick=*/false);
  EXPECT_FALSE(batching.AnswersDue());
}

}  // namespace
}  // namespace rtrs::client
