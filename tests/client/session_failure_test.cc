// What ends a path, what becomes of its requests, and what a hostile server
// cannot do. wire.md §4.6, §5.
#include <errno.h>

#include "rtrs/wire/immediate.h"
#include "tests/client/session_fixture.h"

namespace rtrs::client {
namespace {

class SessionFailureTest : public SessionTest {
 protected:
  // Connects to a server that answers nothing by itself.
  FakeServer* ConnectSilent(FakeServer::Config config = {}) {
    config.auto_respond = false;
    FakeServer* server = AddServer("127.0.0.1", config);
    Connect();
    return server;
  }
  void ExpectPathLost(FakeServer* server) {
    Settle();
    EXPECT_EQ(session_->state(), SessionState::kDisconnected);
    EXPECT_FALSE(why_.ok());
    EXPECT_EQ(server->disconnects(), 3u);
    EXPECT_EQ(session_->in_flight(), 0u);
  }
};

TEST_F(SessionFailureTest, LossFailsEverythingInFlight) {
  FakeServer* server = ConnectSilent();
  std::vector<std::unique_ptr<TestRequest>> requests;
  for (int i = 0; i < 10; ++i) {  // two of them wait for a permit
    requests.push_back(std::make_unique<TestRequest>(
        i % 2 ? Direction::kRead : Direction::kWrite, 512));
    Submit(requests.back().get());
  }
  fabric::LoopbackFabric::Cut(server->qp(0, 1));
  ExpectPathLost(server);
  for (const auto& request : requests) {
    EXPECT_EQ(request->done, 1);
    EXPECT_EQ(request->request.error, ECONNABORTED);
    EXPECT_TRUE(request->request.local_error);
  }
}

TEST_F(SessionFailureTest, RequestsWithoutAPathFailAtOnce) {
  FakeServer* server = ConnectSilent();
  server->Disconnect(0, 2);
  ExpectPathLost(server);
  TestRequest late(Direction::kRead, 512);
  Submit(&late);
  EXPECT_EQ(late.request.error, ECONNABORTED);
}

// Immediates that answer nothing.
struct ImmCase {
  const char* name;
  uint16_t cid;
  uint32_t imm;
};
class HostileImmediateTest : public SessionFailureTest,
                             public testing::WithParamInterface<ImmCase> {};

TEST_P(HostileImmediateTest, EndsThePathAndCompletesNothing) {
  FakeServer* server = ConnectSilent();
  TestRequest read(Direction::kRead, 512);
  Submit(&read);  // chunk 0 on cid 1
  ASSERT_EQ(server->requests.at(0).cid, 1);
  server->SendImm(0, GetParam().cid, GetParam().imm);
  ExpectPathLost(server);
  EXPECT_EQ(read.done, 1);
  EXPECT_EQ(read.request.error, ECONNABORTED);
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileImmediateTest,
    testing::Values(ImmCase{"free_chunk", 1, 0x10000001},
                    ImmCase{"other_connection", 2, 0x10000000},
                    ImmCase{"service_connection", 0, 0x10000000},
                    ImmCase{"beyond_the_queue", 1, 0x10000008},
                    ImmCase{"largest", 1, 0x1FFFFFFF},
                    ImmCase{"free_chunk_inv", 1, 0x20000001}),
    [](const auto& p) { return std::string(p.param.name); });

TEST_F(SessionFailureTest, DuplicateResponseEndsThePath) {
  FakeServer* server = ConnectSilent();
  TestRequest read(Direction::kRead, 512);
  Submit(&read);
  server->Respond(server->requests.at(0), 0);
  server->Respond(server->requests.at(0), 0);
  ExpectPathLost(server);
  EXPECT_EQ(read.done, 1);
  EXPECT_EQ(read.request.error, 0);
}

TEST_F(SessionFailureTest, UnknownImmediateTypesAreIgnored) {
  FakeServer* server = ConnectSilent();
  for (uint32_t type : {0u, 3u, 7u, 10u, 15u}) {
    server->SendImm(0, 1, type << 28 | 5);
  }
  server->SendImm(0, 1, wire::kHeartbeatImm);  // wrong connection
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kConnected);
  EXPECT_EQ(server->heartbeat_acks, 0);
}

TEST_F(SessionFailureTest, ResponseWithInvalidationTypeCompletes) {
  FakeServer* server = ConnectSilent();
  TestRequest read(Direction::kRead, 512);
  Submit(&read);
  server->SendImm(0, 1, 0x20000000);
  Settle();
  EXPECT_EQ(read.done, 1);
  EXPECT_EQ(read.request.error, 0);
}

TEST_F(SessionFailureTest, InvalidationThatNobodyAskedForEndsThePath) {
  FakeServer* server = ConnectSilent();
  TestRequest read(Direction::kRead, 512);
  Submit(&read);
  server->SendInvalidate(0, 1, server->requests.at(0).header.descriptor.rkey);
  ExpectPathLost(server);
}

TEST_F(SessionFailureTest, PlainSendEndsThePath) {
  FakeServer* server = ConnectSilent();
  server->SendBytes(0, 1, {1, 2, 3});
  ExpectPathLost(server);
}

TEST_F(SessionFailureTest, LongSendEndsThePath) {
  FakeServer* server = ConnectSilent();
  server->SendBytes(0, 1, std::vector<uint8_t>(9));
  ExpectPathLost(server);
}

TEST_F(SessionFailureTest, RkeyRefreshWithoutTheFlagEndsThePath) {
  FakeServer* server = ConnectSilent();
  TestRequest read(Direction::kRead, 512);
  Submit(&read);
  const uint32_t imm = 0x10000000;
  server->SendBytes(0, 1, {4, 0, 0, 0, 1, 2, 3, 4}, &imm);
  ExpectPathLost(server);
}

struct RkeyCase {
  const char* name;
  std::vector<uint8_t> bytes;
  uint32_t imm;
};
class HostileRkeyTest : public SessionFailureTest,
                        public testing::WithParamInterface<RkeyCase> {};

TEST_P(HostileRkeyTest, EndsThePath) {
  FakeServer* server = ConnectSilent({.new_rkey = true});
  TestRequest read(Direction::kRead, 512);
  Submit(&read);
  server->SendBytes(0, 1, GetParam().bytes, &GetParam().imm);
  ExpectPathLost(server);
  EXPECT_EQ(read.request.error, ECONNABORTED);
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileRkeyTest,
    testing::Values(
        RkeyCase{"short", {4, 0, 0, 0, 1, 2, 3}, 0x10000000},
        RkeyCase{"type", {3, 0, 0, 0, 1, 2, 3, 4}, 0x10000000},
        RkeyCase{"other_chunk", {4, 0, 1, 0, 1, 2, 3, 4}, 0x10000000},
        RkeyCase{"chunk_beyond", {4, 0, 8, 0, 1, 2, 3, 4}, 0x10000008},
        RkeyCase{"free_chunk", {4, 0, 1, 0, 1, 2, 3, 4}, 0x10000001},
        RkeyCase{"heartbeat", {4, 0, 0, 0, 1, 2, 3, 4}, 0x80000000}),
    [](const auto& p) { return std::string(p.param.name); });

TEST_F(SessionFailureTest, EmptyResponsesAreTakenFromAServerThatRefreshes) {
  FakeServer* server = ConnectSilent({.new_rkey = true});
  for (int i = 0; i < 100; ++i) {  // receives stay large enough for a refresh
    TestRequest read(Direction::kRead, 512);
    Submit(&read);
    server->SendImm(0, 1, 0x10000000);
    Settle();
    ASSERT_EQ(read.done, 1);
  }
  server->config.auto_respond = true;
  TestRequest read(Direction::kRead, 512);
  Submit(&read);
  EXPECT_EQ(read.request.error, 0);
}

TEST_F(SessionFailureTest, MoreDataThanAskedForHitsTheKey) {
  FakeServer* server = ConnectSilent();
  TestRequest read(Direction::kRead, 512);
  read.data.resize(1024, 0x77);
  read.request.data = read.data.data();
  const std::vector<uint8_t> before = read.data;
  Submit(&read);
  server->Respond(server->requests.at(0), 0, std::vector<uint8_t>(513, 1));
  ExpectPathLost(server);
  EXPECT_EQ(read.data, before);
}

TEST_F(SessionFailureTest, DataAfterTheResponseHitsADeadKey) {
  FakeServer* server = ConnectSilent();
  TestRequest read(Direction::kRead, 512);
  Submit(&read);
  server->Respond(server->requests.at(0), 0);
  Settle();
  ASSERT_EQ(read.done, 1);
  const std::vector<uint8_t> before = read.data;
  server->Respond(server->requests.at(0), 0, std::vector<uint8_t>(512, 1));
  ExpectPathLost(server);
  EXPECT_EQ(read.data, before);
}

TEST_F(SessionFailureTest, EarlyResponseWaitsForTheSend) {
  FakeServer* server = ConnectSilent({.post_receives = false});
  const size_t regions = fabric_.region_count();
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);  // stays in the send queue: the server has no receive
  ASSERT_TRUE(server->requests.empty());
  server->SendImm(0, 1, 0x10000000);
  Settle();
  // Its memory is still to be read.
  EXPECT_EQ(write.done, 0);
  EXPECT_EQ(fabric_.region_count(), regions + 1);
  server->PostReceive(0, 1);
  Settle();
  EXPECT_EQ(write.done, 1);
  EXPECT_EQ(write.request.error, 0);
  EXPECT_EQ(fabric_.region_count(), regions);
}

TEST_F(SessionFailureTest, TwoResponsesBeforeTheSendEndThePath) {
  FakeServer* server = ConnectSilent({.post_receives = false});
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  server->SendImm(0, 1, 0x10000000);
  server->SendImm(0, 1, 0x10000000);
  ExpectPathLost(server);
  EXPECT_EQ(write.done, 1);
  EXPECT_EQ(write.request.error, ECONNABORTED);
}

TEST_F(SessionFailureTest, CancelWhileWaiting) {
  FakeServer* server = ConnectSilent();
  std::vector<std::unique_ptr<TestRequest>> requests;
  for (int i = 0; i < 9; ++i) {
    requests.push_back(std::make_unique<TestRequest>(Direction::kRead, 512));
    Submit(requests.back().get());
  }
  session_->Cancel(&requests[8]->request);
  EXPECT_EQ(requests[8]->done, 1);
  EXPECT_EQ(requests[8]->request.error, ETIMEDOUT);
  EXPECT_TRUE(requests[8]->request.local_error);
  // Nothing was sent, so nothing else suffers.
  server->Respond(server->requests.at(0), 0);
  Settle();
  EXPECT_EQ(requests[0]->request.error, 0);
  EXPECT_EQ(session_->state(), SessionState::kConnected);
  session_.reset();
}

TEST_F(SessionFailureTest, CancelInFlightFreesTheMemoryAtOnce) {
  FakeServer* server = ConnectSilent();
  const size_t regions = fabric_.region_count();
  TestRequest read(Direction::kRead, 512);
  TestRequest other(Direction::kWrite, 512);
  Submit(&read);
  Submit(&other);
  session_->Cancel(&read.request);
  EXPECT_EQ(read.done, 1);
  EXPECT_EQ(read.request.error, ETIMEDOUT);
  EXPECT_LT(fabric_.region_count(), regions);
  Settle();
  EXPECT_EQ(other.request.error, ECONNABORTED);
  ExpectPathLost(server);
}

TEST_F(SessionFailureTest, CancelOfADoneRequestDoesNothing) {
  FakeServer* server = AddServer();
  Connect();
  TestRequest read(Direction::kRead, 512);
  Submit(&read);
  session_->Cancel(&read.request);
  EXPECT_EQ(read.done, 1);
  EXPECT_EQ(read.request.error, 0);
  EXPECT_EQ(server->disconnects(), 0u);
}

TEST_F(SessionFailureTest, CloseIsOrderlyAndFailsWhatIsInFlight) {
  FakeServer* server = ConnectSilent();
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  session_->Close();
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kClosed);
  EXPECT_TRUE(why_.ok()) << why_;
  EXPECT_EQ(write.done, 1);
  EXPECT_EQ(write.request.error, ESHUTDOWN);
  EXPECT_EQ(server->disconnects(), 3u);
  TestRequest late(Direction::kWrite, 512);
  Submit(&late);
  EXPECT_EQ(late.request.error, ESHUTDOWN);
}

TEST_F(SessionFailureTest, NothingStaysRegistered) {
  {
    FakeServer* server = ConnectSilent();
    TestRequest read(Direction::kRead, 512);
    Submit(&read);
    EXPECT_EQ(server->requests.size(), 1u);
    session_.reset();
    EXPECT_EQ(read.request.error, ESHUTDOWN);
  }
  channel_.reset();
  servers_.clear();
  EXPECT_EQ(fabric_.region_count(), 0u);
  EXPECT_EQ(fabric_.queue_pair_count(), 0u);
}

TEST_F(SessionFailureTest, HeartbeatsAreAnsweredOnce) {
  FakeServer* server = ConnectSilent();
  server->SendImm(0, 0, wire::kHeartbeatImm);
  Settle();
  EXPECT_EQ(server->heartbeat_acks, 1);
}

TEST_F(SessionFailureTest, HeartbeatFloodDoesNotOverflowAnything) {
  FakeServer* server = ConnectSilent();
  for (int i = 0; i < 3000; ++i) server->SendImm(0, 0, wire::kHeartbeatImm);
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kConnected);
  EXPECT_GE(server->heartbeat_acks, 1);
}

TEST_F(SessionFailureTest, OneHeartbeatPerIntervalWhileThePeerLives) {
  FakeServer* server = ConnectSilent();
  for (int i = 1; i <= 4; ++i) {
    EXPECT_EQ(session_->NextDeadline(),
              clock_.Now() + options_.heartbeat_interval);
    clock_.Advance(options_.heartbeat_interval);
    Settle();
    EXPECT_EQ(server->heartbeats, i);
    server->SendImm(0, 0, wire::kHeartbeatAckImm);
    Settle();
  }
}

TEST_F(SessionFailureTest, SilenceEndsThePathAfterSixIntervals) {
  FakeServer* server = ConnectSilent();
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  for (int i = 0; i < 6; ++i) {  // the message, and five more ticks
    clock_.Advance(options_.heartbeat_interval);
    Settle();
    ASSERT_EQ(session_->state(), SessionState::kConnected) << i;
    ASSERT_EQ(server->heartbeats, 1);
  }
  clock_.Advance(options_.heartbeat_interval);
  ExpectPathLost(server);
  EXPECT_EQ(ErrnoOf(why_), ETIMEDOUT);
  EXPECT_EQ(write.request.error, ECONNABORTED);
}

TEST_F(SessionFailureTest, AnyReceptionIsASignOfLife) {
  FakeServer* server = ConnectSilent();
  for (int i = 0; i < 20; ++i) {
    clock_.Advance(options_.heartbeat_interval);
    Settle();
    if (i % 5 != 4) continue;
    // A response on another connection counts too.
    TestRequest write(Direction::kWrite, 512);
    Submit(&write);
    server->Respond(server->requests.back(), 0);
    Settle();
    EXPECT_EQ(write.request.error, 0);
  }
  EXPECT_EQ(session_->state(), SessionState::kConnected);
}

}  // namespace
}  // namespace rtrs::client
