#include "rtrs/fabric/verbs/send_queue.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

namespace rtrs::fabric::verbs {
namespace {

TEST(SendSlotsTest, ASignalledCompletionFreesItsOwnSlotAndThoseBefore) {
  SendSlots slots(4);
  slots.Post(false);
  slots.Post(false);
  slots.Post(true);
  slots.Post(false);
  EXPECT_EQ(slots.free(), 0u);
  slots.Complete();
  EXPECT_EQ(slots.used(), 1u);
}

TEST(SendSlotsTest, CountsOverManyRounds) {
  SendSlots slots(5);
  for (int round = 0; round < 1000; ++round) {
    for (int i = 0; i < 4; ++i) slots.Post(i == 1 || i == 3);
    ASSERT_EQ(slots.used(), 4u);
    slots.Complete();
    ASSERT_EQ(slots.used(), 2u);
    slots.Complete();
    ASSERT_EQ(slots.used(), 0u);
  }
}

TEST(SendSlotsTest, IgnoresACompletionThatNothingWaitsFor) {
  SendSlots slots(2);
  slots.Post(false);
  slots.Complete();
  EXPECT_EQ(slots.used(), 1u);
}

TEST(SendQueueTest, RefusesMoreEntriesThanAskedFor) {
  const SendQueue queue(8, 1, 0);
  const std::array<Sge, 2> entries;
  SendWr wr;
  wr.sg_list = entries;
  EXPECT_EQ(queue.Check(wr).code(), absl::StatusCode::kInvalidArgument);
}

TEST(SendQueueTest, RefusesMoreInlineBytesThanAskedFor) {
  const SendQueue queue(8, 2, 16);
  std::array<uint8_t, 17> data{};
  const std::array<Sge, 2> entries = {Sge{data.data(), 9, 0},
                                      Sge{data.data() + 9, 8, 0}};
  SendWr wr;
  wr.sg_list = entries;
  EXPECT_TRUE(queue.Check(wr).ok());
  wr.flags = kInline;
  EXPECT_EQ(queue.Check(wr).code(), absl::StatusCode::kInvalidArgument);
}

TEST(SendQueueTest, CopiesInlineDataThatWaits) {
  SendQueue queue(8, 2, 16);
  std::array<uint8_t, 6> data = {1, 2, 3, 4, 5, 6};
  const std::array<Sge, 2> entries = {Sge{data.data(), 2, 0},
                                      Sge{data.data() + 2, 4, 0}};
  SendWr wr;
  wr.flags = kInline;
  wr.sg_list = entries;
  queue.Append(wr, true);
  data.fill(0);
  const ibv_send_wr* out = queue.Take();
  ASSERT_EQ(out->num_sge, 2);
  EXPECT_EQ(reinterpret_cast<const uint8_t*>(out->sg_list[1].addr)[3], 6);
  EXPECT_EQ(reinterpret_cast<const uint8_t*>(out->sg_list[0].addr)[0], 1);
}

TEST(SendQueueTest, ChainsTheBatchAndStartsAgain) {
  SendQueue queue(8, 1, 0);
  SendWr wr;
  for (uint64_t i = 0; i < 3; ++i) {
    wr.wr_id = i;
    queue.Append(wr, false);
  }
  const ibv_send_wr* out = queue.Take();
  for (uint64_t i = 0; i < 3; ++i, out = out->next) EXPECT_EQ(out->wr_id, i);
  EXPECT_EQ(out, nullptr);
  EXPECT_TRUE(queue.empty());
  queue.Append(wr, false);
  EXPECT_EQ(queue.Take()->next, nullptr);
}

TEST(SendQueueTest, LeavesEmptyEntriesOut) {
  SendQueue queue(8, 1, 0);
  const std::array<Sge, 1> entries = {Sge{}};
  SendWr wr;
  wr.sg_list = entries;
  queue.Append(wr, false);
  EXPECT_EQ(queue.Take()->num_sge, 0);
}

}  // namespace
}  // namespace rtrs::fabric::verbs
