// Heartbeats, full send queues, and every way in which a path ends.
#include <errno.h>
#include <gtest/gtest.h>

#include "tests/rtrs_server/harness.h"

namespace rtrs::server {
namespace {

class TeardownTest : public ServerTest {
 protected:
  // Nothing of any session is left.
  void ExpectEmpty() {
    Settle();
    const Server::Stats stats = server->stats();
    EXPECT_EQ(stats.sessions, 0u);
    EXPECT_EQ(stats.paths, 0u);
    EXPECT_EQ(stats.connections, 0u);
    EXPECT_EQ(stats.chunk_bytes, 0u);
    EXPECT_TRUE(handler.sessions.empty());
  }
  const std::vector<uint8_t> user_ = std::vector<uint8_t>(8, 1);
};

TEST_F(TeardownTest, HeartbeatIsAcknowledged) {
  Start();
  auto client = Connected("a");
  client->SendImm(0, wire::kHeartbeatImm);
  const auto ack = client->Receive();
  ASSERT_TRUE(ack);
  EXPECT_EQ(ack->cid, 0);
  EXPECT_EQ(ack->wc.imm, wire::kHeartbeatAckImm);
}

TEST_F(TeardownTest, SendsHeartbeatsAndClosesWhenNobodyAnswers) {
  Start();
  auto client = Connected("a");
  // One is sent after the first interval, none while it is unanswered; the
  // path dies when more than heartbeat_missed_max intervals passed.
  for (int i = 0; i < 6; ++i) {
    clock.Advance(options.heartbeat_interval);
    Settle();
    client->Drain();
    EXPECT_EQ(client->received(), 1u) << i;
    EXPECT_FALSE(client->disconnected(0)) << i;
  }
  clock.Advance(options.heartbeat_interval);
  EXPECT_TRUE(client->WaitDisconnected());
  ExpectEmpty();
}

TEST_F(TeardownTest, AnyReceptionKeepsThePathAlive) {
  Start();
  auto client = Connected("a");
  for (int i = 0; i < 20; ++i) {
    clock.Advance(options.heartbeat_interval);
    Settle();
    client->SendWrite(1, 0, {}, user_);
    Settle();
  }
  client->Drain();
  EXPECT_FALSE(client->disconnected(0));
  EXPECT_EQ(client->received(), 40u);  // a heartbeat each time, and the answer
}

TEST_F(TeardownTest, DisconnectOfOneConnectionClosesThePath) {
  Start();
  auto client = Connected("a", 4);
  client->qp(2)->Disconnect();
  for (uint16_t cid = 0; cid < 4; ++cid) {
    EXPECT_TRUE(client->WaitDisconnected(cid)) << cid;
  }
  ExpectEmpty();
  EXPECT_EQ(handler.downs, std::vector<std::string>{"a"});
}

TEST_F(TeardownTest, LostLinkClosesThePath) {
  Start();
  auto client = Connected("a", 3);
  fabric::LoopbackFabric::Cut(client->qp(1));
  EXPECT_TRUE(client->WaitDisconnected(0));
  ExpectEmpty();
}

TEST_F(TeardownTest, SessionEndsAfterItsRequests) {
  Start();
  handler.hold = true;
  auto client = Connected("a", 3);
  client->SendWrite(1, 0, {}, user_);
  client->SendRead(2, 1, user_, {.data_len = 64, .descriptor = 64});
  ASSERT_TRUE(client->Wait([&] { return handler.held.size() == 2; }));
  client->Disconnect();
  Settle();
  EXPECT_TRUE(handler.downs.empty());
  EXPECT_EQ(fabric.queue_pair_count(), 3u);  // the client's
  // The memory is still there.
  std::fill(handler.held[1]->data.begin(), handler.held[1]->data.end(), 1);
  handler.held[1]->Complete(0);
  Settle();
  EXPECT_TRUE(handler.downs.empty());
  handler.held[0]->Complete(EIO);
  ExpectEmpty();
  EXPECT_EQ(handler.downs, std::vector<std::string>{"a"});
}

TEST_F(TeardownTest, SessionLivesWhileAPathIsUp) {
  Start();
  auto first = Connected("a");
  auto second = Client();
  second->source = "127.0.0.2";
  second->request.paths_uuid = first->request.paths_uuid;
  ASSERT_TRUE(second->Establish(2, "a"));
  first->Disconnect();
  Settle();
  EXPECT_EQ(handler.sessions.size(), 1u);
  ExpectServes(second.get());
  second->Disconnect();
  ExpectEmpty();
}

TEST_F(TeardownTest, HalfOpenPathDoesNotKeepTheSessionUp) {
  Start();
  auto first = Connected("a");
  auto second = Client();
  second->source = "127.0.0.2";
  second->request.paths_uuid = first->request.paths_uuid;
  ASSERT_TRUE(second->ConnectAll(2));
  first->Disconnect();
  Settle();
  EXPECT_EQ(handler.downs.size(), 1u);
  EXPECT_TRUE(second->Info("b"));  // a session of its own now
  ASSERT_EQ(handler.sessions.size(), 1u);
  EXPECT_EQ(handler.sessions[0]->name(), "b");
}

TEST_F(TeardownTest, HalfOpenPathDoesNotJoinASessionThatHasEnded) {
  Start();
  auto first = Connected("a");
  auto second = Client();
  second->source = "127.0.0.2";
  second->request.paths_uuid = first->request.paths_uuid;
  second->request.first_conn = false;
  ASSERT_TRUE(second->ConnectAll(2));
  first->Disconnect();
  EXPECT_TRUE(second->WaitDisconnected());
  ExpectEmpty();
  EXPECT_EQ(Client()->Connect(0).error, 0);
  second = Client();
  second->request.paths_uuid = first->request.paths_uuid;
  second->request.first_conn = false;
  EXPECT_EQ(second->Connect(0).error, ENXIO);
}

TEST_F(TeardownTest, NameIsFreeAfterTheSession) {
  Start();
  Connected("a")->Disconnect();
  Settle();
  auto next = Connected("a");
  ExpectServes(next.get());
}

TEST_F(TeardownTest, RefusalAboveClosesThePath) {
  Start();
  handler.up_status = absl::PermissionDeniedError("not you");
  auto client = Client();
  EXPECT_FALSE(client->Establish(2, "a"));
  EXPECT_TRUE(client->WaitDisconnected());
  ExpectEmpty();
  EXPECT_TRUE(handler.downs.empty());
}

TEST_F(TeardownTest, AdministratorDisconnectsASession) {
  Start();
  auto client = Connected("a");
  auto other = Connected("b");
  handler.sessions[0]->Disconnect();
  EXPECT_TRUE(client->WaitDisconnected());
  Settle();
  EXPECT_EQ(handler.downs, std::vector<std::string>{"a"});
  ExpectServes(other.get());
}

TEST_F(TeardownTest, ShortDeviceQueuesMakeResponsesWait) {
  options.sess_queue_depth = 64;
  fabric.limits.max_qp_wr = 80;  // of 196 that the responses could take
  Start();
  handler.hold = true;
  auto client = Client();
  client->receives = 1;
  ASSERT_TRUE(client->Establish(2, "a"));
  for (int round = 0; round < 20; ++round) {
    for (uint32_t n = 0; n < 64; ++n) {
      client->SendRead(1, n, user_,
                       {.data_len = 8, .descriptor = 8, .need_inval = true});
    }
    Settle();
    ASSERT_EQ(handler.held.size(), 64u);
    for (Request* request : std::exchange(handler.held, {})) {
      request->Complete(0);
    }
    for (uint32_t n = 0; n < 128; ++n) ASSERT_TRUE(client->Receive()) << n;
  }
  EXPECT_FALSE(client->disconnected(0));
}

TEST_F(TeardownTest, ResponsesThatWaitAreDroppedWithThePath) {
  options.sess_queue_depth = 64;
  fabric.limits.max_qp_wr = 80;
  Start();
  handler.hold = true;
  auto client = Connected("a");
  for (uint32_t n = 0; n < 64; ++n) {
    client->SendRead(1, n, user_,
                     {.data_len = 8, .descriptor = 8, .need_inval = true});
  }
  Settle();
  for (Request* request : std::exchange(handler.held, {})) request->Complete(0);
  client->Disconnect();
  ExpectEmpty();
}

TEST_F(TeardownTest, ShutdownClosesEverything) {
  Start();
  auto a = Connected("a");
  auto b = Connected("b", 3);
  auto half = Client();
  half->request.cid_num = 2;
  ASSERT_TRUE(half->Connect(0).accepted);
  handler.hold = true;
  b->SendWrite(2, 0, {}, user_);
  ASSERT_TRUE(b->Wait([&] { return handler.held.size() == 1; }));
  bool done = false;
  server->Shutdown([&done] { done = true; });
  EXPECT_TRUE(a->WaitDisconnected());
  EXPECT_TRUE(half->WaitDisconnected());
  Settle();
  EXPECT_FALSE(done);  // b's request runs
  handler.held[0]->Complete(0);
  Settle();
  EXPECT_TRUE(done);
  ExpectEmpty();
}

TEST_F(TeardownTest, ShutdownAnswersWhatRuns) {
  Start();
  auto client = Connected("a", 3);
  handler.hold = true;
  client->SendWrite(1, 0, {}, user_);
  client->SendWrite(2, 1, {}, user_);
  ASSERT_TRUE(client->Wait([&] { return handler.held.size() == 2; }));
  bool done = false;
  server->Shutdown([&done] { done = true; });
  Settle();
  client->SendWrite(1, 2, {}, user_);  // not taken any more
  Settle();
  EXPECT_EQ(handler.held.size(), 2u);
  client->Drain();
  EXPECT_FALSE(client->disconnected(0));
  handler.held[0]->Complete(0);
  handler.held[1]->Complete(EIO);
  EXPECT_EQ(client->ReceiveError(), 0);
  EXPECT_EQ(client->ReceiveError(), EIO);
  EXPECT_TRUE(client->WaitDisconnected());
  Settle();
  EXPECT_TRUE(done);
  EXPECT_EQ(client->received(), 0u);
  ExpectEmpty();
}

TEST_F(TeardownTest, ShutdownDoesNotWaitForEverForWhatRuns) {
  Start();
  auto client = Connected("a", 3);
  handler.hold = true;
  client->SendWrite(1, 0, {}, user_);
  ASSERT_TRUE(client->Wait([&] { return handler.held.size() == 1; }));
  server->Shutdown([] {});
  Settle();
  clock.Advance(options.stop_timeout - absl::Seconds(1));
  Settle();
  client->Drain();
  EXPECT_FALSE(client->disconnected(0));
  clock.Advance(absl::Seconds(1));
  EXPECT_TRUE(client->WaitDisconnected());
  handler.held[0]->Complete(0);
  ExpectEmpty();
}

TEST_F(TeardownTest, ShutdownWithoutSessionsIsDoneAtOnce) {
  Start();
  bool done = false;
  server->Shutdown([&done] { done = true; });
  Settle();
  EXPECT_TRUE(done);
}

TEST_F(TeardownTest, DestructionDropsWhatIsLeft) {
  Start();
  auto client = Connected("a");
  auto half = Client();
  ASSERT_TRUE(half->Connect(0).accepted);
  server.reset();
  client->Drain();
  EXPECT_TRUE(client->disconnected(0));
  EXPECT_TRUE(client->disconnected(1));
}

TEST_F(TeardownTest, HundredSessionsLeaveNothingBehind) {
  Start();
  const size_t regions = fabric.region_count();
  for (int i = 0; i < 100; ++i) {
    auto client = Connected("a", 4);
    ExpectServes(client.get());
    client->Disconnect();
    ExpectEmpty();
  }
  EXPECT_EQ(fabric.region_count(), regions);
  EXPECT_EQ(fabric.queue_pair_count(), 0u);
  EXPECT_EQ(handler.downs.size(), 100u);
}

TEST_F(TeardownTest, UnansweredDisconnectIsGivenUp) {
  Start();
  auto client = Connected("a", 3);  // the last is of worker 1
  fabric.deaf = true;
  handler.sessions[0]->Disconnect();
  Settle();
  EXPECT_EQ(server->stats().sessions, 1u);
  EXPECT_EQ(server->worker(1)->NextDeadline(), clock.Now() + absl::Seconds(10));
  clock.Advance(absl::Seconds(10));
  ExpectEmpty();
}

}  // namespace
}  // namespace rtrs::server
