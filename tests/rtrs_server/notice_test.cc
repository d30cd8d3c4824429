// Notices: to clients that can hear them, one at a time, and never in the way
// of responses.
#include <gtest/gtest.h>

#include "rtrs/server/notice_queue.h"
#include "rtrs/wire/immediate.h"
#include "tests/rtrs_server/harness.h"

namespace rtrs::server {
namespace {

TEST(NoticeQueueTest, OneIsOnItsWayAtATime) {
  NoticeQueue queue;
  EXPECT_FALSE(queue.CanSend());
  queue.Add(1);
  queue.Add(2);
  ASSERT_TRUE(queue.CanSend());
  EXPECT_EQ(queue.TakeNext(), 1u);
  EXPECT_FALSE(queue.CanSend());
  EXPECT_FALSE(queue.Acknowledge(2));
  EXPECT_FALSE(queue.CanSend());
  EXPECT_TRUE(queue.Acknowledge(1));
  EXPECT_FALSE(queue.Acknowledge(1));
  ASSERT_TRUE(queue.CanSend());
  EXPECT_EQ(queue.TakeNext(), 2u);
}

TEST(NoticeQueueTest, WhatWaitsWaitsOnce) {
  NoticeQueue queue;
  queue.Add(1);
  queue.Add(1);
  EXPECT_EQ(queue.TakeNext(), 1u);
  queue.Add(1);  // the client may have looked before this
  ASSERT_TRUE(queue.Acknowledge(1));
  ASSERT_TRUE(queue.CanSend());
  EXPECT_EQ(queue.TakeNext(), 1u);
  ASSERT_TRUE(queue.Acknowledge(1));
  EXPECT_FALSE(queue.CanSend());
}

TEST(NoticeQueueTest, DoesNotGrowWithoutBound) {
  NoticeQueue queue;
  for (uint32_t i = 0; i < 10000; ++i) queue.Add(i);
  size_t count = 0;
  while (queue.CanSend()) {
    ASSERT_TRUE(queue.Acknowledge(queue.TakeNext()));
    ++count;
  }
  EXPECT_EQ(count, NoticeQueue::kMaxWaiting);
}

uint32_t NoticeOf(uint32_t payload) {
  return wire::EncodeNoticeImm(wire::ImmType::kNotice, payload);
}

class NoticeTest : public ServerTest {
 protected:
  NoticeTest() { options.capabilities.bits = wire::Capabilities::kNotice; }

  std::unique_ptr<RawClient> Hearing(const std::string& source = "127.0.0.1",
                                     const RawClient* sibling = nullptr) {
    auto client = Client();
    client->source = source;
    client->request.capabilities.bits = wire::Capabilities::kNotice;
    if (sibling != nullptr) {
      client->request.paths_uuid = sibling->request.paths_uuid;
    }
    EXPECT_TRUE(client->Establish(2, "a"));
    return client;
  }
  // As the layer above does.
  void Send(uint32_t payload) {
    handler.sessions.at(0)->SendNotice(payload);
    Settle();
  }
  static void Acknowledge(RawClient* client, uint32_t payload) {
    client->SendImm(0,
                    wire::EncodeNoticeImm(wire::ImmType::kNoticeAck, payload));
  }
  static void ExpectNotice(RawClient* client, uint32_t payload) {
    const auto message = client->Receive();
    ASSERT_TRUE(message);
    EXPECT_EQ(message->cid, 0);
    EXPECT_EQ(message->wc.imm, NoticeOf(payload));
  }
  void ExpectNothing(RawClient* client) {
    Settle();
    client->Drain();
    EXPECT_EQ(client->received(), 0u);
  }
};

TEST_F(NoticeTest, TheNextComesWhenTheLastWasConfirmed) {
  Start();
  auto client = Hearing();
  Send(7);
  Send(wire::kImmPayloadMask);
  ExpectNotice(client.get(), 7);
  ExpectNothing(client.get());
  Acknowledge(client.get(), 7);
  ExpectNotice(client.get(), wire::kImmPayloadMask);
  EXPECT_EQ(server->stats().protocol_errors, 0u);
  ExpectServes(client.get());
}

TEST_F(NoticeTest, GoesOverAllPaths) {
  Start();
  auto first = Hearing("127.0.0.2");
  auto second = Hearing("127.0.0.3", first.get());
  Send(7);
  ExpectNotice(first.get(), 7);
  ExpectNotice(second.get(), 7);
}

TEST_F(NoticeTest, GoesToNobodyWhoDidNotAnnounceIt) {
  Start();
  auto client = Connected("kernel");
  Send(7);
  ExpectNothing(client.get());
  ExpectServes(client.get());
}

TEST_F(NoticeTest, GoesToNobodyIfTheServerDidNotAnnounceIt) {
  options.capabilities.bits = 0;
  Start();
  auto client = Hearing();
  Send(7);
  ExpectNothing(client.get());
}

TEST_F(NoticeTest, AfterTheEndOfTheSessionGoesNowhere) {
  Start();
  auto client = Hearing();
  // Still in its queue when the session goes.
  handler.sessions[0]->Disconnect();
  handler.sessions[0]->SendNotice(7);
  EXPECT_TRUE(client->WaitDisconnected());
  Settle();
  EXPECT_TRUE(handler.sessions.empty());
  ExpectNothing(client.get());
}

TEST_F(NoticeTest, UnknownAcknowledgementsAreCountedAndChangeNothing) {
  Start();
  auto client = Hearing();
  Acknowledge(client.get(), 7);  // none was sent
  Settle();
  EXPECT_EQ(server->stats().protocol_errors, 1u);
  Send(7);
  Send(8);
  ExpectNotice(client.get(), 7);
  Acknowledge(client.get(), 8);  // another one
  ExpectNothing(client.get());
  EXPECT_EQ(server->stats().protocol_errors, 2u);
  client->SendImm(1, wire::EncodeNoticeImm(wire::ImmType::kNoticeAck, 7));
  ExpectNothing(client.get());
  EXPECT_EQ(server->stats().protocol_errors, 3u);
  Acknowledge(client.get(), 7);
  ExpectNotice(client.get(), 8);
  ExpectServes(client.get());
}

TEST_F(NoticeTest, NoticeOfAClientMeansNothing) {
  Start();
  auto client = Hearing();
  client->SendImm(0, NoticeOf(7));
  ExpectNothing(client.get());
  EXPECT_EQ(server->stats().protocol_errors, 1u);
  ExpectServes(client.get());
}

// A client that never confirms costs one work request and a short queue.
TEST_F(NoticeTest, ManyToADeafClientDoNotPileUp) {
  Start();
  auto client = Hearing();
  for (uint32_t i = 0; i < 10000; ++i) handler.sessions[0]->SendNotice(i);
  Settle();
  client->Drain();
  EXPECT_EQ(client->received(), 1u);
  ExpectNotice(client.get(), 0);
  ExpectServes(client.get());
  size_t count = 0;
  for (uint32_t last = 0; count < 10000; ++count) {
    Acknowledge(client.get(), last);
    Settle();
    client->Drain();
    if (client->received() == 0) break;
    last = wire::DecodeNoticeImm(client->Receive()->wc.imm);
  }
  EXPECT_EQ(count, NoticeQueue::kMaxWaiting);
}

// Responses leave room in the send queue for such as these.
TEST_F(NoticeTest, OvertakesResponsesThatWaitForRoom) {
  fabric.limits.max_qp_wr = 8;  // three responses at a time
  Start();
  auto client = Hearing();
  handler.hold = true;
  const std::vector<uint8_t> user(8, 1);
  for (uint32_t i = 0; i < 6; ++i) client->SendWrite(0, i, {}, user);
  ASSERT_TRUE(client->Wait([&] { return handler.held.size() == 6; }));
  handler.sessions[0]->SendNotice(7);
  for (Request* request : handler.held) request->Complete(0);
  Settle();
  client->Drain();
  ASSERT_EQ(client->received(), 7u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client->ReceiveError(), 0);
  ExpectNotice(client.get(), 7);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client->ReceiveError(), 0);
}

}  // namespace
}  // namespace rtrs::server
