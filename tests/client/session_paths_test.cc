// Which paths a session has, takes, and connects again. wire.md §6.
#include <errno.h>

#include "rtrs/wire/immediate.h"
#include "tests/client/two_path_fixture.h"

namespace rtrs::client {
namespace {

using SessionPathsTest = TwoPathTest;

TEST_F(SessionPathsTest, LostPathIsConnectedAgainWithoutMakingASession) {
  ConnectTwo(0);
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  EXPECT_EQ(ConnectedPaths(), 1u);
  Pass(absl::Seconds(1));
  EXPECT_EQ(ConnectedPaths(), 2u);
  ASSERT_EQ(first_->connects.size(), 6u);
  EXPECT_EQ(first_->connects[3].sess_uuid, first_->connects[0].sess_uuid);
  EXPECT_EQ(first_->connects[3].recon_cnt, 2);
  EXPECT_FALSE(first_->connects[3].first_conn);
}

TEST_F(SessionPathsTest, LastPathMayMakeTheSessionAnew) {
  first_ = AddServer();
  Connect();
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  Pass(absl::Seconds(1));
  ASSERT_EQ(session_->state(), SessionState::kConnected);
  ASSERT_EQ(first_->connects.size(), 6u);
  EXPECT_TRUE(first_->connects[3].first_conn);
}

TEST_F(SessionPathsTest, AllPathsDownForAMinute) {
  ConnectTwo(0);
  int attempts = 0;
  bool down = true;
  for (FakeServer* server : {first_, second_}) {
    server->on_connect = [&](const wire::ConnectRequest&) {
      ++attempts;
      return down ? ECONNRESET : 0;
    };
    server->config.auto_respond = true;
    fabric::LoopbackFabric::Cut(server->qp(0, 1));
  }
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kDisconnected);
  Pass(absl::Seconds(60));
  EXPECT_EQ(session_->state(), SessionState::kDisconnected);
  // Often enough, and not in a storm: with pauses of 0.1 s doubled up to 10 s.
  EXPECT_GE(attempts, 2 * 9);
  EXPECT_LE(attempts, 2 * 22);
  down = false;
  Pass(options_.reconnect_delay_max);
  EXPECT_EQ(session_->state(), SessionState::kConnected);
  EXPECT_EQ(ConnectedPaths(), 2u);
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  EXPECT_EQ(write.request.error, 0);
}

TEST_F(SessionPathsTest, PathThatHearsNothingDoesNotHoldUpTheOthers) {
  ConnectTwo(0);
  // The attempts of the first hang in the info exchange.
  first_->on_info = [](size_t) { return true; };
  bool down = true;
  second_->on_connect = [&down](const wire::ConnectRequest&) {
    return down ? ECONNRESET : 0;
  };
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  fabric::LoopbackFabric::Cut(second_->qp(0, 1));
  Settle();
  Pass(absl::Seconds(2));
  down = false;
  Pass(absl::Seconds(5));
  EXPECT_EQ(session_->state(), SessionState::kConnected);
}

TEST_F(SessionPathsTest, PathThatIsLateJoinsInsteadOfMakingASession) {
  ConnectTwo(0);
  bool silent = true;
  first_->on_info = [&silent](size_t) { return silent; };
  second_->on_connect = [](const wire::ConnectRequest&) { return ECONNRESET; };
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  fabric::LoopbackFabric::Cut(second_->qp(0, 1));
  Settle();
  Pass(absl::Milliseconds(150));  // the first is in its info exchange
  second_->on_connect = nullptr;
  Pass(absl::Seconds(10));
  ASSERT_EQ(session_->state(), SessionState::kConnected);
  EXPECT_EQ(ConnectedPaths(), 1u);
  silent = false;
  Pass(options_.info_timeout + options_.reconnect_delay_max);
  EXPECT_EQ(ConnectedPaths(), 2u);
  EXPECT_TRUE(first_->connects[3].first_conn);
  EXPECT_FALSE(first_->connects[first_->connects.size() - 3].first_conn);
}

TEST_F(SessionPathsTest, ServerComesBackWithAnotherDepthAndChunkSize) {
  first_ = AddServer();
  Connect();
  EXPECT_EQ(session_->limits().queue_depth, 8u);
  first_->Restart({.queue_depth = 3, .max_io_size = 4096});
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kDisconnected);
  Pass(absl::Seconds(1));
  ASSERT_EQ(session_->state(), SessionState::kConnected);
  EXPECT_EQ(session_->limits().queue_depth, 3u);
  EXPECT_EQ(session_->limits().max_io_size, 4096u);
  std::vector<std::unique_ptr<TestRequest>> requests;
  for (int i = 0; i < 10; ++i) {
    requests.push_back(std::make_unique<TestRequest>(Direction::kWrite, 4096));
    session_->Submit(&requests.back()->request);
  }
  Settle();
  for (const auto& request : requests) EXPECT_EQ(request->request.error, 0);
  for (const auto& r : first_->requests) EXPECT_LT(r.buf_id, 3u);
  TestRequest large(Direction::kWrite, 8192);
  Submit(&large);
  EXPECT_EQ(large.request.error, EMSGSIZE);
  // And with more.
  first_->Restart({.queue_depth = 64, .max_io_size = 65536});
  Settle();
  Pass(absl::Seconds(1));
  ASSERT_EQ(session_->state(), SessionState::kConnected);
  TestRequest larger(Direction::kWrite, 65536);
  Submit(&larger);
  EXPECT_EQ(larger.request.error, 0);
}

TEST_F(SessionPathsTest, LargerPathDoesNotRaiseTheLimit) {
  options_.mp_policy = MultipathPolicy::kRoundRobin;
  first_ = AddServer("127.0.0.1", {.max_io_size = 4096});
  second_ = AddServer("127.0.0.2", {.max_io_size = 8192});
  Connect();
  ASSERT_EQ(ConnectedPaths(), 2u);
  for (int i = 0; i < 2; ++i) {
    TestRequest large(Direction::kWrite, 8192);
    Submit(&large);
    EXPECT_EQ(large.request.error, EMSGSIZE);
    TestRequest fits(Direction::kWrite, 4096);
    Submit(&fits);
    EXPECT_EQ(fits.request.error, 0);
  }
}

TEST_F(SessionPathsTest, PathThatFailedAtTheStartIsTriedAgain) {
  first_ = AddServer("127.0.0.1");
  second_ = AddServer("127.0.0.2");
  bool down = true;
  second_->on_connect = [&down](const wire::ConnectRequest&) {
    return down ? ENXIO : 0;
  };
  Connect();
  EXPECT_EQ(ConnectedPaths(), 1u);
  down = false;
  Pass(absl::Seconds(1));
  EXPECT_EQ(ConnectedPaths(), 2u);
}

TEST_F(SessionPathsTest, RoundRobinTakesTurns) {
  options_.mp_policy = MultipathPolicy::kRoundRobin;
  first_ = AddServer("127.0.0.1");
  second_ = AddServer("127.0.0.2");
  Connect();
  for (int i = 0; i < 10; ++i) {
    TestRequest write(Direction::kWrite, 512);
    Submit(&write);
  }
  EXPECT_EQ(first_->requests.size(), 5u);
  EXPECT_EQ(second_->requests.size(), 5u);
}

TEST_F(SessionPathsTest, MinLatencyTakesThePathThatAnswersFaster) {
  options_.mp_policy = MultipathPolicy::kMinLatency;
  first_ = AddServer("127.0.0.1");
  second_ = AddServer("127.0.0.2");
  Connect();
  clock_.Advance(options_.heartbeat_interval);
  Settle();
  clock_.Advance(absl::Microseconds(100));
  second_->SendImm(0, 0, wire::kHeartbeatAckImm);
  Settle();
  clock_.Advance(absl::Microseconds(100));
  first_->SendImm(0, 0, wire::kHeartbeatAckImm);
  Settle();
  EXPECT_EQ(session_->paths()[0].latency, absl::Microseconds(200));
  EXPECT_EQ(session_->paths()[1].latency, absl::Microseconds(100));
  for (int i = 0; i < 4; ++i) {
    TestRequest write(Direction::kWrite, 512);
    Submit(&write);
  }
  EXPECT_EQ(second_->requests.size(), 4u);
}

TEST_F(SessionPathsTest, PathsComeAndGoAtRunTime) {
  first_ = AddServer("127.0.0.1");
  Connect();
  const std::vector<PathSpec> before = options_.paths;
  second_ = AddServer("127.0.0.2");
  const PathSpec second = options_.paths[1];
  ASSERT_TRUE(session_->ChangePath(PathChange::kAdd, second).ok());
  Settle();
  EXPECT_EQ(ConnectedPaths(), 2u);
  EXPECT_FALSE(second_->connects[0].first_conn);
  EXPECT_EQ(ErrnoOf(session_->ChangePath(PathChange::kAdd, second)), EEXIST);
  ASSERT_TRUE(session_->ChangePath(PathChange::kRemove, before[0]).ok());
  Settle();
  EXPECT_EQ(session_->paths().size(), 1u);
  EXPECT_EQ(session_->state(), SessionState::kConnected);
  EXPECT_EQ(session_->generation(), 1u);
  EXPECT_EQ(ErrnoOf(session_->ChangePath(PathChange::kRemove, second)), EBUSY);
  EXPECT_EQ(ErrnoOf(session_->ChangePath(PathChange::kRemove, before[0])),
            ENOENT);
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  EXPECT_EQ(second_->requests.size(), 1u);
}

TEST_F(SessionPathsTest, DisconnectedPathStaysSoUntilItIsReconnected) {
  ConnectTwo(kFenceBit);
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  const PathSpec spec = options_.paths[0];
  ASSERT_TRUE(session_->ChangePath(PathChange::kDisconnect, spec).ok());
  Settle();
  EXPECT_EQ(ConnectedPaths(), 1u);
  // What was in flight there goes on.
  second_->ConfirmFence(0, second_->fences.at(0));
  Settle();
  ASSERT_EQ(second_->requests.size(), 1u);
  second_->Respond(second_->requests[0], 0);
  Settle();
  EXPECT_EQ(write.request.error, 0);
  Pass(absl::Seconds(20));
  EXPECT_EQ(ConnectedPaths(), 1u);
  EXPECT_FALSE(session_->paths()[0].wanted);
  ASSERT_TRUE(session_->ChangePath(PathChange::kReconnect, spec).ok());
  Settle();
  EXPECT_EQ(ConnectedPaths(), 2u);
}

TEST_F(SessionPathsTest, ReconnectOfAPathThatIsUpBeginsItAnew) {
  ConnectTwo(0);
  ASSERT_TRUE(
      session_->ChangePath(PathChange::kReconnect, options_.paths[0]).ok());
  Pass(absl::Seconds(1));
  EXPECT_EQ(ConnectedPaths(), 2u);
  EXPECT_EQ(session_->paths()[0].connects, 2u);
}

}  // namespace
}  // namespace rtrs::client
