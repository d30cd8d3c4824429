// Notices of the server: heard, confirmed, and not believed from just anybody.
#include "rtrs/wire/capabilities.h"
#include "rtrs/wire/immediate.h"
#include "tests/client/session_fixture.h"

namespace rtrs::client {
namespace {

uint32_t NoticeOf(uint32_t payload) {
  return wire::EncodeNoticeImm(wire::ImmType::kNotice, payload);
}

class SessionNoticeTest : public SessionTest {
 protected:
  FakeServer* AddNotifier(const std::string& address = "127.0.0.1") {
    FakeServer::Config config;
    config.capabilities = wire::Capabilities::kNotice;
    return AddServer(address, config);
  }
  void Notice(FakeServer* server, uint32_t payload, uint16_t cid = 0) {
    server->SendImm(0, cid, NoticeOf(payload));
    Settle();
  }
  // The session is up, and works.
  void ExpectWorks() {
    EXPECT_EQ(session_->state(), SessionState::kConnected) << why_;
    TestRequest read(Direction::kRead, 512);
    Submit(&read);
    EXPECT_EQ(read.done, 1);
    EXPECT_EQ(read.request.error, 0);
  }
};

TEST_F(SessionNoticeTest, IsAnnounced) {
  FakeServer* server = AddNotifier();
  Connect();
  for (const wire::ConnectRequest& request : server->connects) {
    EXPECT_TRUE(request.capabilities.Has(wire::Capabilities::kNotice));
  }
}

TEST_F(SessionNoticeTest, ReachesTheLayerAboveAndIsConfirmed) {
  FakeServer* server = AddNotifier();
  Connect();
  Notice(server, 5);
  Notice(server, wire::kImmPayloadMask);
  const std::vector<uint32_t> both = {5, wire::kImmPayloadMask};
  EXPECT_EQ(notices_, both);
  EXPECT_EQ(server->notice_acks, both);
  ExpectWorks();
}

TEST_F(SessionNoticeTest, ComesOverEachPath) {
  FakeServer* first = AddNotifier();
  FakeServer* second = AddNotifier("127.0.0.2");
  Connect();
  Settle();
  Notice(first, 1);
  Notice(second, 2);
  EXPECT_EQ(notices_, (std::vector<uint32_t>{1, 2}));
  EXPECT_EQ(first->notice_acks, std::vector<uint32_t>{1});
  EXPECT_EQ(second->notice_acks, std::vector<uint32_t>{2});
}

TEST_F(SessionNoticeTest, OfAServerThatDidNotAnnounceItMeansNothing) {
  FakeServer* server = AddServer();
  Connect();
  Notice(server, 5);
  EXPECT_TRUE(notices_.empty());
  EXPECT_TRUE(server->notice_acks.empty());
  ExpectWorks();
}

TEST_F(SessionNoticeTest, OnAnotherConnectionMeansNothing) {
  FakeServer* server = AddNotifier();
  Connect();
  Notice(server, 5, 1);
  EXPECT_TRUE(notices_.empty());
  EXPECT_TRUE(server->notice_acks.empty());
  ExpectWorks();
}

TEST_F(SessionNoticeTest, BeforeThePathIsUpMeansNothing) {
  FakeServer* server = AddNotifier();
  server->on_info = [&](size_t path) {
    server->SendImm(path, 0, NoticeOf(5));
    return false;
  };
  Start();
  Settle();
  EXPECT_TRUE(notices_.empty());
  EXPECT_TRUE(server->notice_acks.empty());
}

// A server that waits for no answer: each batch is confirmed once.
TEST_F(SessionNoticeTest, FloodTakesNoMoreThanOneAnswerABatch) {
  FakeServer* server = AddNotifier();
  Connect();
  constexpr size_t kFlood = 100;
  for (uint32_t i = 0; i < kFlood; ++i) server->SendImm(0, 0, NoticeOf(i));
  Settle();
  EXPECT_EQ(notices_.size(), kFlood);
  EXPECT_FALSE(server->notice_acks.empty());
  EXPECT_LE(server->notice_acks.size(), kFlood / 16);
  EXPECT_EQ(server->notice_acks.back(), kFlood - 1);
  ExpectWorks();
}

TEST_F(SessionNoticeTest, AcknowledgementOfAServerMeansNothing) {
  FakeServer* server = AddNotifier();
  Connect();
  server->SendImm(0, 0, wire::EncodeNoticeImm(wire::ImmType::kNoticeAck, 5));
  Settle();
  EXPECT_TRUE(notices_.empty());
  ExpectWorks();
}

}  // namespace
}  // namespace rtrs::client
