// What becomes of requests when a path is lost: other paths, fences. wire.md
// §5.3, §6.
#include <errno.h>

#include "rtrs/wire/immediate.h"
#include "tests/client/two_path_fixture.h"

namespace rtrs::client {
namespace {

using SessionFailoverTest = TwoPathTest;

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
