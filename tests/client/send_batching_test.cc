#include "rtrs/client/send_batching.h"

#include <gtest/gtest.h>

namespace rtrs::client {
namespace {

constexpr uint32_t kSmall = 4096;

TEST(SendBatchingTest, SendsWhileNothingIsInFlight) {
  SendBatching batching;
  EXPECT_FALSE(batching.LeaveToPoller(64, kSmall));
  batching.OnDrain(0, /*quick=*/true);
  EXPECT_FALSE(batching.LeaveToPoller(1, kSmall));
}

TEST(SendBatchingTest, WaitsForAnswersThatAreDue) {
  SendBatching batching;
  batching.OnDrain(21, /*quick=*/true);
  EXPECT_TRUE(batching.LeaveToPoller(64, kSmall));
  EXPECT_TRUE(batching.LeaveToPoller(2, kSmall));
}

TEST(SendBatchingTest, KeepsAPartOfTheCallsAtTheServer) {
  SendBatching batching;
  batching.OnDrain(20, /*quick=*/true);
  EXPECT_FALSE(batching.LeaveToPoller(64, kSmall));
}

TEST(SendBatchingTest, FewCallsAreSentAtOnce) {
  SendBatching batching;
  batching.OnDrain(SendBatching::kFewInFlight - 1, /*quick=*/true);
  EXPECT_FALSE(batching.LeaveToPoller(4, kSmall));
}

TEST(SendBatchingTest, LongRequestsAreSentAtOnce) {
  SendBatching batching;
  batching.OnDrain(64, /*quick=*/true);
  EXPECT_TRUE(batching.LeaveToPoller(64, SendBatching::kMaxBytes));
  EXPECT_FALSE(batching.LeaveToPoller(64, SendBatching::kMaxBytes + 1));
}

TEST(SendBatchingTest, DoesNotWaitForSlowAnswers) {
  SendBatching batching;
  batching.OnDrain(64, /*quick=*/true);
  batching.OnDrain(64, /*quick=*/false);
  EXPECT_FALSE(batching.LeaveToPoller(64, kSmall));
}

}  // namespace
}  // namespace rtrs::client
