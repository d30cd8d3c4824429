// The fence: a path that a client has given up executes nothing more once the
// server has said so.
#include <errno.h>
#include <gtest/gtest.h>

#include "rtrs/fabric/softiwarp/fault_transport.h"
#include "rtrs/fabric/softiwarp/memory_transport.h"
#include "rtrs/fabric/softiwarp/softiwarp.h"
#include "rtrs/wire/immediate.h"
#include "tests/rtrs_server/harness.h"

namespace rtrs::server {
namespace {

uint32_t FenceOf(const RawClient& path) {
  return wire::EncodeFenceImm(wire::ImmType::kFence,
                              {wire::FencePath(path.request.sess_uuid),
                               static_cast<uint8_t>(path.request.recon_cnt)});
}
uint32_t FenceDoneOf(const RawClient& path) {
  const uint32_t imm = FenceOf(path);
  return wire::EncodeFenceImm(wire::ImmType::kFenceDone,
                              wire::DecodeFenceImm(imm));
}

class FenceTest : public ServerTest {
 protected:
  FenceTest() { options.capabilities.bits = wire::Capabilities::kFence; }

  std::unique_ptr<RawClient> Path(const std::string& source,
                                  const RawClient* sibling) {
    auto path = Client();
    path->source = source;
    path->request.capabilities.bits = wire::Capabilities::kFence;
    if (sibling != nullptr) {
      path->request.paths_uuid = sibling->request.paths_uuid;
    }
    return path;
  }
  // Two paths of one session that are up.
  void ConnectBoth() {
    dead = Path("127.0.0.2", nullptr);
    ASSERT_TRUE(dead->Establish(2, "a"));
    live = Path("127.0.0.3", dead.get());
    ASSERT_TRUE(live->Establish(2, "a"));
  }
  // A request of the dead path runs until the test completes it.
  void HoldWriteOfDead() {
    handler.hold = true;
    dead->SendWrite(1, 0, {}, user_);
    ASSERT_TRUE(dead->Wait([&] { return handler.held.size() == 1; }));
  }
  // The next thing that `path` receives is an immediate: this one.
  static void ExpectImm(RawClient* path, uint32_t imm) {
    const auto message = path->Receive();
    ASSERT_TRUE(message);
    EXPECT_EQ(message->cid, 0);
    EXPECT_EQ(message->wc.imm, imm);
  }

  std::unique_ptr<RawClient> dead;
  std::unique_ptr<RawClient> live;
  const std::vector<uint8_t> user_ = std::vector<uint8_t>(8, 1);
};

TEST_F(FenceTest, IsAnsweredWhenThePathIsGone) {
  Start();
  ConnectBoth();
  live->SendImm(0, FenceOf(*dead));
  ExpectImm(live.get(), FenceDoneOf(*dead));
  EXPECT_EQ(server->stats().paths, 1u);
  EXPECT_EQ(server->stats().connections, 2u);
  EXPECT_EQ(handler.sessions.size(), 1u);
  ExpectServes(live.get());
}

TEST_F(FenceTest, WaitsForRequestsThatRun) {
  Start();
  ConnectBoth();
  HoldWriteOfDead();
  live->SendImm(0, FenceOf(*dead));
  Settle();
  live->Drain();
  EXPECT_EQ(live->received(), 0u);
  EXPECT_EQ(fabric.queue_pair_count(), 6u);  // the server's two are gone
  handler.held[0]->Complete(0);
  ExpectImm(live.get(), FenceDoneOf(*dead));
}

TEST_F(FenceTest, DoesNotWaitForASilentPeer) {
  Start();
  ConnectBoth();
  fabric.deaf = true;
  live->SendImm(0, FenceOf(*dead));
  ExpectImm(live.get(), FenceDoneOf(*dead));
}

TEST_F(FenceTest, OfAPathThatIsUnknownIsAnsweredAtOnce) {
  Start();
  ConnectBoth();
  dead->Disconnect();
  Settle();
  live->SendImm(0, FenceOf(*dead));
  ExpectImm(live.get(), FenceDoneOf(*dead));
}

TEST_F(FenceTest, RepeatsAreAnsweredEach) {
  Start();
  ConnectBoth();
  HoldWriteOfDead();
  live->SendImm(0, FenceOf(*dead));
  live->SendImm(0, FenceOf(*dead));
  Settle();
  handler.held[0]->Complete(0);
  ExpectImm(live.get(), FenceDoneOf(*dead));
  ExpectImm(live.get(), FenceDoneOf(*dead));
}

TEST_F(FenceTest, LeavesANewerConnectOfThePathAlone) {
  Start();
  ConnectBoth();
  auto again = Path("127.0.0.2", dead.get());
  again->request = dead->request;
  again->request.recon_cnt = 2;
  ASSERT_TRUE(again->Establish(2, "a"));
  live->SendImm(0, FenceOf(*dead));
  ExpectImm(live.get(), FenceDoneOf(*dead));
  ExpectServes(again.get());
}

TEST_F(FenceTest, MayComeOnTheNewerConnectOfThePath) {
  Start();
  ConnectBoth();
  HoldWriteOfDead();
  auto again = Path("127.0.0.2", dead.get());
  again->request = dead->request;
  again->request.recon_cnt = 2;
  ASSERT_TRUE(again->Establish(2, "a"));
  again->SendImm(0, FenceOf(*dead));
  Settle();
  again->Drain();
  EXPECT_EQ(again->received(), 0u);
  handler.held[0]->Complete(0);
  ExpectImm(again.get(), FenceDoneOf(*dead));
}

TEST_F(FenceTest, OfItselfClosesThePath) {
  Start();
  ConnectBoth();
  live->SendImm(0, FenceOf(*live));
  EXPECT_TRUE(live->WaitDisconnected());
  Settle();
  EXPECT_EQ(server->stats().protocol_errors, 1u);
}

TEST_F(FenceTest, DoesNotReachOtherSessions) {
  Start();
  ConnectBoth();
  auto other = Path("127.0.0.4", nullptr);
  ASSERT_TRUE(other->Establish(2, "b"));
  other->SendImm(0, FenceOf(*dead));
  ExpectImm(other.get(), FenceDoneOf(*dead));
  ExpectServes(dead.get());
}

TEST_F(FenceTest, IsForgottenWithThePathThatAsked) {
  Start();
  ConnectBoth();
  HoldWriteOfDead();
  live->SendImm(0, FenceOf(*dead));
  Settle();
  live->Disconnect();
  Settle();
  EXPECT_EQ(server->stats().paths, 1u);
  handler.held[0]->Complete(0);
  Settle();
  EXPECT_EQ(server->stats().sessions, 0u);
}

TEST_F(FenceTest, MeansNothingUnlessAnnounced) {
  options.capabilities.bits = 0;
  Start();
  ConnectBoth();
  live->SendImm(0, FenceOf(*dead));
  Settle();
  live->Drain();
  EXPECT_EQ(live->received(), 0u);
  ExpectServes(dead.get());
}

TEST_F(FenceTest, TooManyAtOnceCloseThePath) {
  Start();
  ConnectBoth();
  HoldWriteOfDead();
  for (int i = 0; i < 600; ++i) {
    live->SendImm(0, FenceOf(*dead));
    Settle();
  }
  EXPECT_TRUE(live->WaitDisconnected());
  handler.held[0]->Complete(0);
  Settle();
  EXPECT_EQ(server->stats().sessions, 0u);
}

// Over softiwarp with a network that holds bytes back.
class HeldBytesTest : public testing::Test {
 protected:
  HeldBytesTest() {
    options_.sess_queue_depth = 8;
    options_.max_chunk_size = 8192;
    options_.workers = 2;
    options_.capabilities.bits = wire::Capabilities::kFence;
    server_ = *Server::Create({fabric_.get()}, &clock_, &random_, options_,
                              &handler_);
    address_ = *server_->Listen(*SocketAddress::Parse("127.0.0.1", 0));
    dead_ = Path("127.0.0.2");
    live_ = Path("127.0.0.3");
    live_->request.paths_uuid = dead_->request.paths_uuid;
    EXPECT_TRUE(dead_->Establish(2, "a"));
    EXPECT_TRUE(live_->Establish(2, "a"));
    Hold(true);
    dead_->SendWrite(1, 5, old_, user_);
    Run();
    EXPECT_EQ(handler_.requests, 0);
  }
  std::unique_ptr<RawClient> Path(const std::string& source) {
    auto path = std::make_unique<RawClient>(fabric_.get(), address_,
                                            [this](fabric::EventChannel*) {
                                              Step();
                                              return ++rounds_ < 100000;
                                            });
    path->source = source;
    path->request.capabilities.bits = wire::Capabilities::kFence;
    return path;
  }
  void Hold(bool held) {
    faults_.set_held(*SocketAddress::Parse("127.0.0.2", 0), held);
  }
  void Step() {
    clock_.Advance(absl::Microseconds(10));
    for (int i = 0; i < server_->worker_count(); ++i) {
      server_->worker(i)->Progress();
    }
  }
  void Run() {
    for (int i = 0; i < 100; ++i) {
      Step();
      dead_->Drain();
      live_->Drain();
    }
  }
  // A newer write in the same chunk, acknowledged; then the old bytes arrive.
  void WriteNewThenRelease() {
    live_->SendWrite(1, 5, new_, user_);
    ASSERT_EQ(live_->ReceiveError(), 0);
    EXPECT_EQ(handler_.written, new_);
    Hold(false);
    Run();
  }
  std::vector<uint8_t> Chunk() {
    const auto chunk = handler_.sessions[0]->chunk_memory().subspan(
        5 * options_.max_chunk_size, new_.size());
    return {chunk.begin(), chunk.end()};
  }

  ManualClock clock_;
  SeededRandom random_{1};
  fabric::MemoryTransport network_;
  fabric::FaultTransport faults_{&network_, &clock_, &random_};
  std::unique_ptr<fabric::Fabric> fabric_ =
      fabric::NewSoftiwarp({}, &faults_, &clock_, &random_);
  FakeHandler handler_;
  ServerOptions options_;
  std::unique_ptr<Server> server_;
  SocketAddress address_;
  std::unique_ptr<RawClient> dead_;
  std::unique_ptr<RawClient> live_;
  int rounds_ = 0;
  const std::vector<uint8_t> user_ = std::vector<uint8_t>(8, 1);
  const std::vector<uint8_t> old_ = std::vector<uint8_t>(512, 0x0D);
  const std::vector<uint8_t> new_ = std::vector<uint8_t>(512, 0x9E);
};

// What the fence is for: this is what happens with a kernel server.
TEST_F(HeldBytesTest, WithoutAFenceAnOldWriteOvertakesANewerOne) {
  WriteNewThenRelease();
  EXPECT_EQ(handler_.requests, 2);
  EXPECT_EQ(handler_.written, old_);
}

TEST_F(HeldBytesTest, AfterTheFenceAnOldWriteNeverLands) {
  live_->SendImm(0, FenceOf(*dead_));
  const auto answer = live_->Receive();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->wc.imm, FenceDoneOf(*dead_));
  WriteNewThenRelease();
  EXPECT_EQ(handler_.requests, 1);
  EXPECT_EQ(handler_.written, new_);
  EXPECT_EQ(Chunk(), new_);
}

TEST_F(HeldBytesTest, AfterAReplacementAnOldWriteNeverLands) {
  // The new connection goes over another address, so that it is not held.
  auto again = Path("127.0.0.4");
  again->request = dead_->request;
  again->request.recon_cnt = 2;
  ASSERT_TRUE(again->Establish(2, "a"));
  WriteNewThenRelease();
  EXPECT_EQ(handler_.requests, 1);
  EXPECT_EQ(Chunk(), new_);
}

}  // namespace
}  // namespace rtrs::server
