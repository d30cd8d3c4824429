// Info exchange, requests and responses of well-behaved clients.
#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/rtrs_server/harness.h"

namespace rtrs::server {
namespace {

using testing::Each;
using testing::ElementsAreArray;

class IoTest : public ServerTest {
 protected:
  const std::vector<uint8_t> user_ = {4, 0, 0, 0, 9, 9, 9, 9};
};

TEST_F(IoTest, InfoBringsTheSessionUp) {
  Start();
  auto client = Connected("host1");
  ASSERT_EQ(handler.sessions.size(), 1u);
  EXPECT_EQ(handler.sessions[0]->name(), "host1");
  EXPECT_EQ(handler.sessions[0]->chunk_memory().size(), 8u * 8192);
  EXPECT_EQ(handler.sessions[0]->chunk_size(), 8192u);
  EXPECT_EQ(handler.sessions[0]->peer_address().HostString(), "127.0.0.1");
}

TEST_F(IoTest, WriteArrivesInPlace) {
  Start();
  auto client = Connected("a");
  const std::vector<uint8_t> data(4096, 0x5C);
  client->SendWrite(1, 3, data, user_);
  uint32_t buf_id = 0;
  EXPECT_EQ(client->ReceiveError(&buf_id), 0);
  EXPECT_EQ(buf_id, 3u);
  EXPECT_EQ(handler.written, data);
  EXPECT_THAT(handler.user_message, ElementsAreArray(user_));
}

TEST_F(IoTest, WriteWithoutData) {
  Start();
  auto client = Connected("a");
  client->SendWrite(1, 0, {}, user_);
  EXPECT_EQ(client->ReceiveError(), 0);
  EXPECT_TRUE(handler.written.empty());
}

TEST_F(IoTest, ReadSendsDataAndCompletionTogether) {
  Start();
  auto client = Connected("a");
  client->SendRead(1, 5, user_, {.data_len = 4096, .descriptor = 4096});
  const auto message = client->Receive();
  ASSERT_TRUE(message);
  EXPECT_EQ(message->wc.imm, 0x10000005u);
  EXPECT_EQ(message->wc.byte_len, 4096u);
  EXPECT_THAT(absl::MakeSpan(client->read_buffer(), 4096), Each(0xAB));
  EXPECT_EQ(client->read_buffer()[4096], 0);
}

TEST_F(IoTest, ReadHonoursNeedInval) {
  Start();
  auto client = Connected("a");
  client->SendRead(1, 5, user_,
                   {.data_len = 512, .descriptor = 512, .need_inval = true});
  const auto invalidation = client->Receive();
  ASSERT_TRUE(invalidation);
  EXPECT_EQ(invalidation->wc.opcode, fabric::WcOpcode::kRecv);
  EXPECT_EQ(invalidation->wc.flags, fabric::kWithInv);
  EXPECT_EQ(invalidation->wc.invalidated_rkey, client->rkey());
  const auto completion = client->Receive();
  ASSERT_TRUE(completion);
  EXPECT_EQ(completion->wc.imm, 0x20000005u);
  EXPECT_EQ(completion->wc.byte_len, 0u);
  EXPECT_THAT(absl::MakeSpan(client->read_buffer(), 512), Each(0xAB));
}

TEST_F(IoTest, FailedReadSendsNoDataButInvalidates) {
  Start();
  handler.error = EIO;
  auto client = Connected("a");
  client->SendRead(1, 2, user_,
                   {.data_len = 512, .descriptor = 512, .need_inval = true});
  const auto invalidation = client->Receive();
  ASSERT_TRUE(invalidation);
  EXPECT_EQ(invalidation->wc.flags, fabric::kWithInv);
  const auto completion = client->Receive();
  ASSERT_TRUE(completion);
  EXPECT_EQ(completion->wc.imm, 0x20000002u | EIO << 19);
  EXPECT_THAT(absl::MakeSpan(client->read_buffer(), 512), Each(0));
}

TEST_F(IoTest, FlushIsAReadWithoutDescriptor) {
  Start();
  auto client = Connected("a");
  client->SendRead(1, 2, user_, {});
  EXPECT_EQ(client->ReceiveError(), 0);
  EXPECT_EQ(handler.requests, 1);
}

TEST_F(IoTest, ErrnoIsAnswered) {
  Start();
  handler.error = ENOTCONN;
  auto client = Connected("a");
  client->SendWrite(1, 5, {}, user_);
  const auto message = client->Receive();
  ASSERT_TRUE(message);
  EXPECT_EQ(message->wc.imm, 0x13580005u);
}

TEST_F(IoTest, ErrnoAboveNineBitsBecomesEio) {
  Start();
  handler.error = 512;
  auto client = Connected("a");
  client->SendWrite(1, 5, {}, user_);
  EXPECT_EQ(client->ReceiveError(), EIO);
}

TEST_F(IoTest, RequestsAreServedOnTheServiceConnectionToo) {
  Start();
  auto client = Connected("a", 1);
  client->SendWrite(0, 0, {}, user_);
  EXPECT_EQ(client->ReceiveError(), 0);
}

TEST_F(IoTest, AnswersOnTheConnectionOfTheRequestInAnyOrder) {
  Start();
  handler.hold = true;
  auto client = Connected("a", 4);
  for (uint16_t cid = 0; cid < 4; ++cid) client->SendWrite(cid, cid, {}, user_);
  ASSERT_TRUE(client->Wait([&] { return handler.held.size() == 4; }));
  for (int i = 3; i >= 0; --i) {
    handler.held[static_cast<size_t>(i)]->Complete(0);
    const auto message = client->Receive();
    ASSERT_TRUE(message);
    EXPECT_EQ(message->cid, wire::DecodeIoResponseImm(message->wc.imm).msg_id);
  }
}

TEST_F(IoTest, AllChunksInFlightOverAndOver) {
  Start();
  auto client = Connected("a", 3);
  for (int round = 0; round < 300; ++round) {
    for (uint32_t n = 0; n < 8; ++n) {
      client->SendRead(static_cast<uint16_t>(1 + n % 2), n, user_,
                       {.data_len = 64, .descriptor = 64, .need_inval = true});
    }
    for (int n = 0; n < 16; ++n) ASSERT_TRUE(client->Receive());
  }
  EXPECT_EQ(handler.requests, 300 * 8);
  EXPECT_EQ(server->stats().protocol_errors, 0u);
}

TEST_F(IoTest, ChunkOfAnotherPathIsHeldUntilTheFirstCopyIsDone) {
  Start();
  handler.hold = true;
  auto first = Connected("a");
  auto second = Client();
  second->source = "127.0.0.2";
  second->request.paths_uuid = first->request.paths_uuid;
  ASSERT_TRUE(second->Establish(2, "a"));
  first->SendWrite(1, 4, {}, user_);
  ASSERT_TRUE(first->Wait([&] { return handler.held.size() == 1; }));
  second->SendWrite(1, 4, {}, user_);
  Settle();
  EXPECT_EQ(handler.held.size(), 1u);
  handler.held[0]->Complete(0);
  ASSERT_TRUE(second->Wait([&] { return handler.held.size() == 2; }));
  handler.held[1]->Complete(ENOSPC);
  EXPECT_EQ(first->ReceiveError(), 0);
  EXPECT_EQ(second->ReceiveError(), ENOSPC);
}

TEST_F(IoTest, HeldRequestRunsAfterItsPredecessorsPathIsLost) {
  Start();
  handler.hold = true;
  auto first = Connected("a");
  auto second = Client();
  second->source = "127.0.0.2";
  second->request.paths_uuid = first->request.paths_uuid;
  ASSERT_TRUE(second->Establish(2, "a"));
  first->SendWrite(1, 4, {}, user_);
  ASSERT_TRUE(first->Wait([&] { return handler.held.size() == 1; }));
  first->Disconnect();
  second->SendWrite(1, 4, {}, user_);
  Settle();
  ASSERT_EQ(handler.held.size(), 1u);
  EXPECT_EQ(server->stats().paths, 2u);  // waits for its request
  handler.held[0]->Complete(0);
  ASSERT_TRUE(second->Wait([&] { return handler.held.size() == 2; }));
  handler.held[1]->Complete(0);
  EXPECT_EQ(second->ReceiveError(), 0);
  EXPECT_EQ(server->stats().paths, 1u);
}

TEST_F(IoTest, HeldRequestOfALostPathIsDropped) {
  Start();
  handler.hold = true;
  auto first = Connected("a");
  auto second = Client();
  second->source = "127.0.0.2";
  second->request.paths_uuid = first->request.paths_uuid;
  ASSERT_TRUE(second->Establish(2, "a"));
  first->SendWrite(1, 4, {}, user_);
  ASSERT_TRUE(first->Wait([&] { return handler.held.size() == 1; }));
  second->SendWrite(1, 4, {}, user_);
  Settle();
  second->Disconnect();
  Settle();
  handler.held[0]->Complete(0);
  EXPECT_EQ(first->ReceiveError(), 0);
  Settle();
  EXPECT_EQ(handler.requests, 1);
  EXPECT_EQ(server->stats().paths, 1u);
  first->SendWrite(1, 4, {}, user_);
  ASSERT_TRUE(first->Wait([&] { return handler.held.size() == 2; }));
  handler.held[1]->Complete(0);
  EXPECT_EQ(first->ReceiveError(), 0);
}

}  // namespace
}  // namespace rtrs::server
