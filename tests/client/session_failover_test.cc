// What becomes of requests when a path is lost: other paths, fences, recovery
// of the last one. wire.md §5.3, §6.
#include <errno.h>

#include "rtrs/wire/immediate.h"
#include "tests/client/session_fixture.h"

namespace rtrs::client {
namespace {

constexpr uint32_t kFenceBit = wire::Capabilities::kFence;

class SessionFailoverTest : public SessionTest {
 protected:
  // Two paths to servers that answer requests when they are told to.
  void ConnectTwo(uint32_t capabilities) {
    FakeServer::Config config;
    config.auto_respond = false;
    config.capabilities = capabilities;
    first_ = AddServer("127.0.0.1", config);
    second_ = AddServer("127.0.0.2", config);
    Connect();
    ASSERT_EQ(ConnectedPaths(), 2u);
  }
  size_t ConnectedPaths() const {
    size_t count = 0;
    for (const PathInfo& path : session_->paths()) count += path.connected;
    return count;
  }
  // Lets the time go by in small steps.
  void Pass(absl::Duration time) {
    Settle();
    for (const absl::Time end = clock_.Now() + time; clock_.Now() < end;) {
      const absl::Duration next = session_->NextDeadline() - clock_.Now();
      clock_.Advance(
          std::min(std::max(next, absl::Milliseconds(1)), end - clock_.Now()));
      Settle();
    }
  }
  // Ends the session while the requests of the test still live.
  void EndSession() { session_.reset(); }
  static uint32_t FenceOf(const FakeServer& server, uint8_t recon_cnt) {
    return wire::EncodeFenceImm(
        wire::ImmType::kFence,
        {wire::FencePath(server.connects.at(0).sess_uuid), recon_cnt});
  }

  FakeServer* first_ = nullptr;
  FakeServer* second_ = nullptr;
};

TEST_F(SessionFailoverTest, RequestMovesToTheOtherPathWithItsPermit) {
  ConnectTwo(0);
  TestRequest write(Direction::kWrite, 512);
  TestRequest read(Direction::kRead, 512);
  Submit(&write);  // to the first path
  Submit(&read);   // to the second
  ASSERT_EQ(first_->requests.size(), 1u);
  ASSERT_EQ(second_->requests.size(), 1u);
  const absl::Time before = clock_.Now();
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  // At once, before any heartbeat.
  EXPECT_EQ(clock_.Now(), before);
  EXPECT_EQ(session_->state(), SessionState::kConnected);
  ASSERT_EQ(second_->requests.size(), 2u);
  const FakeServer::Received& again = second_->requests[1];
  EXPECT_EQ(again.buf_id, first_->requests[0].buf_id);
  EXPECT_EQ(again.user_message, first_->requests[0].user_message);
  EXPECT_EQ(again.data, write.data);
  EXPECT_EQ(write.done, 0);
  second_->Respond(again, 0);
  second_->Respond(second_->requests[0], 0);
  Settle();
  EXPECT_EQ(write.done, 1);
  EXPECT_EQ(write.request.error, 0);
  EXPECT_EQ(read.request.error, 0);
  EXPECT_EQ(session_->in_flight(), 0u);
}

TEST_F(SessionFailoverTest, AnsweredRequestIsNotSentAgain) {
  ConnectTwo(0);
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  first_->Respond(first_->requests.at(0), EIO);
  Settle();
  EXPECT_EQ(write.request.error, EIO);
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  EXPECT_TRUE(second_->requests.empty());
}

TEST_F(SessionFailoverTest, ReadDataArrivesOverTheOtherPath) {
  ConnectTwo(0);
  TestRequest read(Direction::kRead, 512);
  Submit(&read);
  fabric::LoopbackFabric::Cut(first_->qp(0, 0));
  Settle();
  ASSERT_EQ(second_->requests.size(), 1u);
  second_->Respond(second_->requests[0], 0, std::vector<uint8_t>(512, 0x42));
  Settle();
  EXPECT_EQ(read.request.error, 0);
  EXPECT_EQ(read.data, std::vector<uint8_t>(512, 0x42));
}

TEST_F(SessionFailoverTest, NothingIsSentAgainBeforeTheFenceIsConfirmed) {
  ConnectTwo(kFenceBit);
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  ASSERT_EQ(second_->fences, std::vector<uint32_t>{FenceOf(*first_, 1)});
  EXPECT_TRUE(second_->requests.empty());
  // Other requests go on meanwhile, in other chunks.
  TestRequest other(Direction::kWrite, 512);
  Submit(&other);
  ASSERT_EQ(second_->requests.size(), 1u);
  EXPECT_NE(second_->requests[0].buf_id, first_->requests[0].buf_id);
  second_->ConfirmFence(0, second_->fences[0]);
  Settle();
  ASSERT_EQ(second_->requests.size(), 2u);
  EXPECT_EQ(second_->requests[1].buf_id, first_->requests[0].buf_id);
  second_->Respond(second_->requests[1], 0);
  Settle();
  EXPECT_EQ(write.request.error, 0);
  EXPECT_EQ(write.done, 1);
  EndSession();
}

TEST_F(SessionFailoverTest, FenceOfAnotherPathConfirmsNothing) {
  ConnectTwo(kFenceBit);
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  second_->ConfirmFence(0, second_->fences.at(0) ^ 1);    // other connect
  second_->ConfirmFence(0, second_->fences[0] ^ 0x100);   // other path
  second_->SendImm(0, 1, second_->fences[0] | 1u << 28);  // other connection
  Settle();
  EXPECT_TRUE(second_->requests.empty());
  EXPECT_EQ(session_->state(), SessionState::kConnected);
  EndSession();
}

TEST_F(SessionFailoverTest, FenceIsAskedAgainOverTheNextPath) {
  FakeServer::Config config;
  config.auto_respond = false;
  config.capabilities = kFenceBit;
  FakeServer* third = nullptr;
  first_ = AddServer("127.0.0.1", config);
  second_ = AddServer("127.0.0.2", config);
  third = AddServer("127.0.0.3", config);
  Connect();
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  ASSERT_EQ(second_->fences.size(), 1u);
  fabric::LoopbackFabric::Cut(second_->qp(0, 2));
  Settle();
  EXPECT_EQ(third->fences, second_->fences);  // nothing was in flight there
  third->ConfirmFence(0, third->fences.at(0));
  Settle();
  ASSERT_EQ(third->requests.size(), 1u);
  EndSession();
}

TEST_F(SessionFailoverTest, PathThatCameBackIsAskedAboutItsPast) {
  FakeServer::Config config;
  config.auto_respond = false;
  config.capabilities = kFenceBit;
  first_ = AddServer("127.0.0.1", config);
  Connect();
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kDisconnected);
  EXPECT_EQ(write.request.error, ECONNABORTED);
  Pass(absl::Seconds(1));
  ASSERT_EQ(session_->state(), SessionState::kConnected);
  ASSERT_EQ(first_->fences, std::vector<uint32_t>{FenceOf(*first_, 1)});
  // The old write may still be executed: nothing may overtake it.
  TestRequest newer(Direction::kWrite, 512);
  Submit(&newer);
  EXPECT_EQ(first_->requests.size(), 1u);
  first_->ConfirmFence(0, first_->fences[0]);
  Settle();
  ASSERT_EQ(first_->requests.size(), 2u);
  first_->Respond(first_->requests[1], 0);
  Settle();
  EXPECT_EQ(newer.request.error, 0);
}

TEST_F(SessionFailoverTest, NothingOvertakesARequestThatWasGivenUp) {
  ConnectTwo(kFenceBit);
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  session_->Cancel(&write.request);
  EXPECT_EQ(write.done, 1);
  EXPECT_EQ(write.request.error, ETIMEDOUT);
  EXPECT_EQ(session_->in_flight(), 0u);
  TestRequest newer(Direction::kWrite, 512);
  Submit(&newer);
  ASSERT_EQ(second_->fences.size(), 1u);
  EXPECT_TRUE(second_->requests.empty());
  second_->ConfirmFence(0, second_->fences[0]);
  Settle();
  EXPECT_EQ(second_->requests.size(), 1u);  // the newer one only
  EndSession();
}

TEST_F(SessionFailoverTest, RequestMayBeGivenUpWhileItIsHeld) {
  ConnectTwo(kFenceBit);
  TestRequest write(Direction::kWrite, 512);
  TestRequest other(Direction::kRead, 512);
  Submit(&write);
  Submit(&other);
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  session_->Cancel(&write.request);
  EXPECT_EQ(write.request.error, ETIMEDOUT);
  EXPECT_EQ(other.done, 0);  // its path lives
  EXPECT_EQ(ConnectedPaths(), 1u);
  second_->ConfirmFence(0, second_->fences.at(0));
  Settle();
  EXPECT_EQ(second_->requests.size(), 1u);  // `other`
  EXPECT_EQ(write.done, 1);
  EndSession();
}

TEST_F(SessionFailoverTest, LossOfAllPathsGivesBackWhatIsHeld) {
  ConnectTwo(kFenceBit);
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  EXPECT_EQ(write.done, 0);
  EXPECT_EQ(session_->generation(), 1u);
  fabric::LoopbackFabric::Cut(second_->qp(0, 1));
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kDisconnected);
  EXPECT_EQ(session_->generation(), 2u);
  EXPECT_EQ(write.done, 1);
  EXPECT_EQ(write.request.error, ECONNABORTED);
  EXPECT_EQ(session_->in_flight(), 0u);
}

TEST_F(SessionFailoverTest, RequestOfAPastGenerationIsNotSent) {
  ConnectTwo(0);
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  fabric::LoopbackFabric::Cut(second_->qp(0, 1));
  Settle();
  Pass(absl::Seconds(1));
  ASSERT_EQ(session_->state(), SessionState::kConnected);
  TestRequest stale(Direction::kWrite, 512);
  stale.request.generation = 1;
  Submit(&stale);
  EXPECT_EQ(stale.request.error, ECONNABORTED);
  EXPECT_TRUE(stale.request.local_error);
  TestRequest fresh(Direction::kWrite, 512);
  fresh.request.generation = 2;
  Submit(&fresh);
  EXPECT_EQ(first_->requests.size() + second_->requests.size(), 1u);
  EndSession();
}

TEST_F(SessionFailoverTest, OtherServerWithoutFenceEndsTheWait) {
  FakeServer::Config config;
  config.capabilities = kFenceBit;
  config.auto_respond = false;
  first_ = AddServer("127.0.0.1", config);
  Connect();
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  first_->config.capabilities = 0;
  first_->config.auto_respond = true;
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  Pass(absl::Seconds(1));
  TestRequest next(Direction::kWrite, 512);
  Submit(&next);
  EXPECT_EQ(next.request.error, 0);
  EXPECT_EQ(next.done, 1);
}

TEST_F(SessionFailoverTest, LostPathIsConnectedAgainWithoutMakingASession) {
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

TEST_F(SessionFailoverTest, LastPathMayMakeTheSessionAnew) {
  first_ = AddServer();
  Connect();
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  Pass(absl::Seconds(1));
  ASSERT_EQ(session_->state(), SessionState::kConnected);
  ASSERT_EQ(first_->connects.size(), 6u);
  EXPECT_TRUE(first_->connects[3].first_conn);
}

TEST_F(SessionFailoverTest, AllPathsDownForAMinute) {
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

TEST_F(SessionFailoverTest, PathThatHearsNothingDoesNotHoldUpTheOthers) {
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

TEST_F(SessionFailoverTest, PathThatIsLateJoinsInsteadOfMakingASession) {
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

TEST_F(SessionFailoverTest, ServerComesBackWithAnotherDepthAndChunkSize) {
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

TEST_F(SessionFailoverTest, LargerPathDoesNotRaiseTheLimit) {
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

TEST_F(SessionFailoverTest, PathThatFailedAtTheStartIsTriedAgain) {
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

TEST_F(SessionFailoverTest, RoundRobinTakesTurns) {
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

TEST_F(SessionFailoverTest, MinLatencyTakesThePathThatAnswersFaster) {
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

TEST_F(SessionFailoverTest, PathsComeAndGoAtRunTime) {
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

TEST_F(SessionFailoverTest, DisconnectedPathStaysSoUntilItIsReconnected) {
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

TEST_F(SessionFailoverTest, ReconnectOfAPathThatIsUpBeginsItAnew) {
  ConnectTwo(0);
  ASSERT_TRUE(
      session_->ChangePath(PathChange::kReconnect, options_.paths[0]).ok());
  Pass(absl::Seconds(1));
  EXPECT_EQ(ConnectedPaths(), 2u);
  EXPECT_EQ(session_->paths()[0].connects, 2u);
}

TEST_F(SessionFailoverTest, CloseWithHeldRequests) {
  ConnectTwo(kFenceBit);
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  fabric::LoopbackFabric::Cut(first_->qp(0, 1));
  Settle();
  session_->Close();
  Settle();
  EXPECT_EQ(write.request.error, ESHUTDOWN);
  EXPECT_EQ(session_->state(), SessionState::kClosed);
}

TEST_F(SessionFailoverTest, BouncedWriteIsSentAgain) {
  // Its data lies in a bounce buffer that must live until the second copy.
  fabric::LoopbackFabric bouncing(3, false);
  FakeServer::Config config;
  config.auto_respond = false;
  FakeServer first(&bouncing, "127.0.0.1", config);
  FakeServer second(&bouncing, "127.0.0.2", config);
  AddPath("127.0.0.1", first.port());
  AddPath("127.0.0.2", second.port());
  channel_ = *bouncing.CreateEventChannel();
  session_ = Session::Create(&bouncing, channel_.get(), &clock_, &random_,
                             options_, this);
  session_->Start();
  const auto settle = [&] {
    for (int quiet = 0; quiet < 3;) {
      const bool progress = session_->Progress();
      const bool first_step = first.Step();
      const bool second_step = second.Step();
      quiet = progress || first_step || second_step ? 0 : quiet + 1;
    }
  };
  settle();
  TestRequest write(Direction::kWrite, 512);
  session_->Submit(&write.request);
  settle();
  const std::vector<uint8_t> data = write.data;
  fabric::LoopbackFabric::Cut(first.qp(0, 1));
  settle();
  ASSERT_EQ(second.requests.size(), 1u);
  EXPECT_EQ(second.requests[0].data, data);
  second.Respond(second.requests[0], 0);
  settle();
  EXPECT_EQ(write.request.error, 0);
  session_.reset();
  channel_.reset();
}

}  // namespace
}  // namespace rtrs::client
