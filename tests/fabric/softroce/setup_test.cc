// Connecting, refusing and leaving, over a good network and a bad one.
#include <errno.h>

#include <set>
#include <utility>
#include <variant>

#include "rtrs/base/errno_status.h"
#include "rtrs/fabric/softroce/cm_messages.h"
#include "rtrs/fabric/softroce/packet.h"
#include "tests/fabric/softroce/harness.h"

namespace rtrs::softroce {
namespace {

using fabric::Bytes;
using fabric::CmEvent;
using fabric::Counting;
using fabric::Doorbell;
using fabric::PathTo;
using fabric::QueuePair;
using fabric::WcStatus;

class SetupTest : public SoftroceTest {
 protected:
  // Connects to `address` and returns the one event that comes of it.
  CmEvent ConnectTo(const SocketAddress& address) {
    client_qp_ = client_->NewQp();
    EXPECT_TRUE(
        client_qp_->Connect(PathTo(address), {}, absl::Seconds(30)).ok());
    Run();
    if (client_->events.size() != 1) {
      ADD_FAILURE() << client_->events.size() << " events";
      return CmEvent();
    }
    return std::move(client_->events[0]);
  }
  // Loses the first `count` datagrams from `host`.
  void LoseFirst(const char* host, int count) {
    network_.set_filter([host, count](const SocketAddress& from,
                                      const SocketAddress&,
                                      absl::Span<const uint8_t>) mutable {
      return from.HostString() != host || count-- <= 0;
    });
  }
};

TEST_F(SetupTest, PrivateDataTravelsBothWays) {
  Establish(Counting(56, 3), Counting(56, 9));
  const Bytes& got = client_->events[0].private_data;
  ASSERT_GE(got.size(), 56U);
  EXPECT_TRUE(
      std::equal(got.begin(), got.begin() + 56, Counting(56, 9).begin()));
}

TEST_F(SetupTest, RequestCarriesThePrivateDataOfConnect) {
  Request(Counting(56, 3));
  auto request = TakeRequest();
  const auto data = request->private_data();
  ASSERT_GE(data.size(), 56U);
  EXPECT_TRUE(
      std::equal(data.begin(), data.begin() + 56, Counting(56, 3).begin()));
  EXPECT_EQ(request->local_address(), address_);
  EXPECT_EQ(request->peer_address().HostString(), "192.0.2.2");
}

TEST_F(SetupTest, RejectionCarriesPrivateData) {
  Request();
  TakeRequest()->Reject(Counting(56, 5));
  Run();
  ASSERT_EQ(client_->Count(CmEvent::Type::kRejected), 1);
  const Bytes& got = client_->events[0].private_data;
  ASSERT_EQ(got.size(), 148U);
  EXPECT_TRUE(
      std::equal(got.begin(), got.begin() + 56, Counting(56, 5).begin()));
  EXPECT_EQ(client_qp_->state(), QueuePair::State::kError);
}

TEST_F(SetupTest, RequestThatIsDroppedIsRejected) {
  Request();
  TakeRequest().reset();
  Run();
  EXPECT_EQ(client_->Count(CmEvent::Type::kRejected), 1);
}

TEST_F(SetupTest, RequestMayOutliveItsListenerAndChannel) {
  Request();
  auto request = TakeRequest();
  listener_.reset();
  server_.reset();
  request->Reject({});
  request.reset();
}

TEST_F(SetupTest, NobodyListeningOnThePort) {
  SocketAddress other = address_;
  other.set_port(4321);
  const CmEvent event = ConnectTo(other);
  EXPECT_EQ(event.type, CmEvent::Type::kConnectError);
  EXPECT_EQ(ErrnoOf(event.status), ECONNREFUSED);
}

TEST_F(SetupTest, NobodyOnTheHostIsHeardByIcmp) {
  const absl::Time before = clock_.Now();
  const CmEvent event = ConnectTo(*SocketAddress::Parse("192.0.2.9", 1234));
  EXPECT_EQ(event.type, CmEvent::Type::kConnectError);
  EXPECT_EQ(ErrnoOf(event.status), ECONNREFUSED);
  EXPECT_LT(clock_.Now() - before, absl::Seconds(20));
}

TEST_F(SetupTest, SilenceEndsAtTheTimeout) {
  network_.set_faults({.lose = 1000000});
  const CmEvent event = ConnectTo(address_);
  EXPECT_EQ(event.type, CmEvent::Type::kConnectError);
  EXPECT_EQ(ErrnoOf(event.status), ETIMEDOUT);
}

TEST_F(SetupTest, LostRequestsAreSentAgain) {
  LoseFirst("192.0.2.2", 3);
  Establish();
}

TEST_F(SetupTest, LostRepliesAreSentAgain) {
  LoseFirst("192.0.2.1", 3);
  Establish();
}

TEST_F(SetupTest, DuplicateRequestsMakeOneConnection) {
  network_.set_faults({.repeat = 1000000});
  Establish();
  EXPECT_EQ(server_->Count(CmEvent::Type::kConnectRequest), 0);
}

TEST_F(SetupTest, DataBeforeTheRtuEstablishes) {
  Request();
  server_qp_ = server_->NewQp();
  const fabric::RecvWr recv = {1, nullptr, 0, 0};
  ASSERT_TRUE(server_qp_->PostRecv({&recv, 1}).ok());
  ASSERT_TRUE(server_qp_->Accept(TakeRequest(), {}).ok());
  // All management datagrams of the client are lost from now on.
  network_.set_filter([](const SocketAddress& from, const SocketAddress&,
                         absl::Span<const uint8_t> datagram) {
    return from.HostString() != "192.0.2.2" ||
           datagram[0] != static_cast<uint8_t>(Opcode::kUdSendOnly);
  });
  client_->Step();
  ASSERT_EQ(client_->Count(CmEvent::Type::kEstablished), 1);
  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kRdmaWriteWithImm;
  ASSERT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).ok());
  Run(absl::Seconds(1));
  EXPECT_EQ(server_->Count(CmEvent::Type::kEstablished), 1);
  EXPECT_EQ(server_->completions.size(), 1U);
}

TEST_F(SetupTest, ReceivesPostedBeforeAreFlushedWhenConnectFails) {
  client_qp_ = client_->NewQp();
  const fabric::RecvWr recv = {1, nullptr, 0, 0};
  ASSERT_TRUE(client_qp_->PostRecv({&recv, 1}).ok());
  SocketAddress other = address_;
  other.set_port(4321);
  ASSERT_TRUE(client_qp_->Connect(PathTo(other), {}, absl::Seconds(3)).ok());
  Run();
  ASSERT_EQ(client_->completions.size(), 1U);
  EXPECT_EQ(client_->completions[0].status, WcStatus::kFlushed);
}

TEST_F(SetupTest, SendsAreRefusedBeforeEstablished) {
  Request();
  const fabric::SendWr wr;
  EXPECT_EQ(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(SetupTest, AQueuePairConnectsOnce) {
  Establish();
  EXPECT_EQ(client_qp_->Connect(PathTo(address_), {}, absl::Seconds(1)).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(SetupTest, SecondListenerOfAPortIsRefused) {
  const auto again = client_->channel->Listen(address_, 1);
  EXPECT_EQ(ErrnoOf(again.status()), EADDRINUSE);
}

TEST_F(SetupTest, TakenUdpPortIsAnError) {
  const auto address = *SocketAddress::Parse("192.0.2.77", 1234);
  const auto foreign = network_.Open(address);
  EXPECT_EQ(ErrnoOf(client_->channel->Listen(address, 1).status()), EADDRINUSE);
  // For a server that listens on other fabrics too, it is as no device.
  auto optional = NewSoftroce({.optional = true}, &host_);
  auto channel = *optional->CreateEventChannel();
  EXPECT_EQ(ErrnoOf(channel->Listen(address, 1).status()), ENODEV);
}

TEST_F(SetupTest, PortZeroBecomesAPort) {
  SocketAddress address = address_;
  address.set_port(0);
  const auto listener = *client_->channel->Listen(address, 1);
  EXPECT_NE(listener->local_address().port(), 0);
}

TEST_F(SetupTest, DisconnectIsSeenByBothOnce) {
  Establish();
  client_qp_->Disconnect();
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(client_qp_->state(), QueuePair::State::kClosed);
  server_qp_->Disconnect();
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(server_qp_->state(), QueuePair::State::kClosed);
}

TEST_F(SetupTest, BothMayDisconnectAtOnce) {
  Establish();
  client_qp_->Disconnect();
  server_qp_->Disconnect();
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 1);
}

TEST_F(SetupTest, SendsPostedBeforeDisconnectArrive) {
  Establish();
  const std::vector<fabric::RecvWr> recvs(20, fabric::RecvWr());
  ASSERT_TRUE(server_qp_->PostRecv(recvs).ok());
  for (int i = 0; i < 20; ++i) {
    fabric::SendWr wr;
    wr.opcode = fabric::WrOpcode::kSendWithImm;
    wr.flags = fabric::kSignaled;
    ASSERT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kDeferred).ok());
  }
  network_.set_faults({.lose = 200000});
  client_qp_->Disconnect();
  Run();
  EXPECT_EQ(server_->completions.size(), 20U);
  for (const auto& wc : client_->completions) {
    EXPECT_EQ(wc.status, WcStatus::kSuccess);
  }
}

TEST_F(SetupTest, DeadPeerDoesNotHoldUpADisconnect) {
  Establish();
  network_.set_faults({.lose = 1000000});
  const fabric::SendWr wr;
  ASSERT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).ok());
  const absl::Time before = clock_.Now();
  client_qp_->Disconnect();
  Run(absl::Seconds(60));
  EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_GE(client_->completions.size(), 1U);
  EXPECT_LT(clock_.Now() - before, absl::Seconds(61));
}

TEST_F(SetupTest, SilentPeerIsLostAfterTenSeconds) {
  Establish();
  network_.set_faults({.lose = 1000000});
  fabric::SendWr wr;
  wr.wr_id = 8;
  const absl::Time before = clock_.Now();
  ASSERT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).ok());
  Run(absl::Seconds(60));
  ASSERT_EQ(client_->completions.size(), 1U);
  EXPECT_EQ(client_->completions[0].status, WcStatus::kRetryExceeded);
  EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_GE(clock_.Now() - before, absl::Seconds(10));
}

TEST_F(SetupTest, DestroyingAQueuePairTellsThePeer) {
  Establish();
  LoseFirst("192.0.2.2", 2);  // its DREQ is sent again
  client_qp_.reset();
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 0);
}

TEST_F(SetupTest, AQueuePairMayGoWhileItsTimersRun) {
  Establish();
  network_.set_faults({.lose = 1000000});
  fabric::SendWr wr;
  wr.flags = fabric::kSignaled;
  ASSERT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).ok());
  client_->events.clear();
  Run(absl::Milliseconds(1));
  client_qp_.reset();
  Run(absl::Minutes(1));
  EXPECT_TRUE(client_->completions.empty());
  EXPECT_TRUE(client_->events.empty());
}

// What an attacker needs who does not see the packets.
TEST_F(SetupTest, NumbersDoNotFollowFromEarlierOnes) {
  constexpr size_t kConnections = 40;
  std::set<uint32_t> numbers[4];
  std::set<uint32_t> steps[4];
  uint32_t last[4] = {};
  const auto note = [&](size_t i, uint32_t number) {
    numbers[i].insert(number);
    steps[i].insert(number - std::exchange(last[i], number));
  };
  network_.set_filter([&](const SocketAddress&, const SocketAddress&,
                          absl::Span<const uint8_t> datagram) {
    Packet packet;
    if (Parse(datagram, &packet) != ParseError::kNone) return true;
    const auto cm = DecodeCm(packet.payload);
    if (!cm.ok()) return true;
    if (const auto* req = std::get_if<CmReq>(&cm->message)) {
      note(0, req->qpn);
      note(1, req->starting_psn);
      note(2, req->local_comm_id);
    } else if (const auto* rep = std::get_if<CmRep>(&cm->message)) {
      note(3, rep->qpn);
    }
    return true;
  });
  for (size_t i = 0; i < kConnections; ++i) {
    client_->events.clear();
    server_->events.clear();
    Establish();
  }
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(numbers[i].size(), kConnections) << i;
    EXPECT_EQ(steps[i].size(), kConnections) << i;
  }
}

TEST_F(SetupTest, NumbersComeBackAfterTimeWait) {
  for (int i = 0; i < 50; ++i) {
    Establish();
    client_qp_->Disconnect();
    Run();
    client_qp_.reset();
    server_qp_.reset();
    client_->events.clear();
    server_->events.clear();
  }
  Run();
  MutexLock lock(host_.mutex());
  EXPECT_EQ(host_.Find(address_)->cm()->session_count(), 0U);
}

TEST_F(SetupTest, ConnectsAndLeavesOverABadNetwork) {
  network_.set_faults({.lose = 100000,
                       .lose_burst = 5000,
                       .repeat = 50000,
                       .reorder = 100000,
                       .corrupt = 50000});
  for (int i = 0; i < 30; ++i) {
    Establish();
    client_qp_->Disconnect();
    Run();
    ASSERT_EQ(client_->Count(CmEvent::Type::kDisconnected), 1);
    client_qp_.reset();
    server_qp_.reset();
    client_->events.clear();
    server_->events.clear();
  }
}

}  // namespace
}  // namespace rtrs::softroce
