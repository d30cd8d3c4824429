// Connect and accept, and peers that do it wrong: spec/iwarp.md §1, and its
// rows of §6.3.
#include <gtest/gtest.h>
#include <poll.h>

#include "rtrs/fabric/softiwarp/device_limits.h"
#include "tests/fabric/softiwarp/golden.h"
#include "tests/fabric/softiwarp/setup_fixture.h"

namespace rtrs::fabric::softiwarp {
namespace {

TEST_F(SetupTest, PrivateDataTravelsBothWays) {
  Request(Counting(56));
  EXPECT_EQ(Bytes(server_->events[0].request->private_data().begin(),
                  server_->events[0].request->private_data().end()),
            Counting(56));
  AcceptRaw();
  ASSERT_EQ(client_->Count(CmEvent::Type::kEstablished), 1);
  EXPECT_EQ(client_->events[0].private_data, Counting(8, 0x80));
  EXPECT_EQ(server_->Count(CmEvent::Type::kEstablished), 1);
  EXPECT_EQ(client_qp_->peer_address(), address_);
  EXPECT_EQ(server_qp_->peer_address(), client_qp_->local_address());
}

TEST_F(SetupTest, OurRequestIsTheGoldenOne) {
  Bytes expected = Hex(golden::kRequest) + Counting(56);
  expected[16] = 0x10;  // crc off
  EXPECT_EQ(DialedByClient(), expected);
}

TEST_F(SetupTest, RejectionCarriesPrivateData) {
  Request();
  std::unique_ptr<ConnectRequest> request = TakeRequest();
  request->Reject(Counting(148));
  Run();
  ASSERT_EQ(client_->events.size(), 1U);
  EXPECT_EQ(client_->events[0].type, CmEvent::Type::kRejected);
  EXPECT_EQ(client_->events[0].private_data, Counting(148));
  EXPECT_FALSE(client_->events[0].status.ok());
  EXPECT_EQ(client_qp_->state(), QueuePair::State::kError);
}

TEST_F(SetupTest, RequestThatIsDroppedIsRejected) {
  Request();
  TakeRequest().reset();
  Run();
  ASSERT_EQ(client_->events.size(), 1U);
  EXPECT_EQ(client_->events[0].type, CmEvent::Type::kRejected);
  EXPECT_TRUE(client_->events[0].private_data.empty());
}

TEST_F(SetupTest, RequestMayBeRejectedAfterItsChannelIsGone) {
  Request();
  std::unique_ptr<ConnectRequest> request = TakeRequest();
  listener_.reset();
  server_ = std::make_unique<Endpoint>(fabric_.get());
  request->Reject({});
  request.reset();
  Run();
  ASSERT_EQ(client_->events.size(), 1U);
  EXPECT_EQ(client_->events[0].type, CmEvent::Type::kConnectError);
}

// The wake-up for the letter must not keep the descriptor readable.
TEST_F(SetupTest, RejectionOfAPeerThatIsGoneLetsTheChannelSleep) {
  raw_ = Dial();
  raw_->Write(EncodeMpaFrame(RequestFrame(false)));
  Run();
  listener_.reset();
  std::unique_ptr<ConnectRequest> request = TakeRequest();
  raw_->Reset();
  request->Reject({});
  Run();
  EXPECT_TRUE(server_->channel->Arm());
  Run();
  ASSERT_TRUE(server_->channel->Arm());
  pollfd p = {server_->channel->fd(), POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 0), 0);
}

TEST_F(SetupTest, NobodyListening) {
  listener_.reset();
  client_qp_ = client_->NewQp();
  ASSERT_TRUE(
      client_qp_->Connect(PathTo(address_), {}, absl::Seconds(30)).ok());
  ExpectConnectError(ECONNREFUSED);
}

TEST_F(SetupTest, ReceivesPostedBeforeAreFlushedWhenConnectFails) {
  listener_.reset();
  client_qp_ = client_->NewQp();
  const RecvWr recv = {3, nullptr, 0, 0};
  ASSERT_TRUE(client_qp_->PostRecv({&recv, 1}).ok());
  ASSERT_TRUE(
      client_qp_->Connect(PathTo(address_), {}, absl::Seconds(30)).ok());
  Run();
  ASSERT_EQ(client_->completions.size(), 1U);
  EXPECT_EQ(client_->completions[0].status, WcStatus::kFlushed);
}

TEST_F(SetupTest, ConnectEndsAtItsTimeout) {
  DialedByClient();
  EXPECT_EQ(client_->channel->NextDeadline(), clock_.Now() + absl::Seconds(30));
  clock_.Advance(absl::Seconds(29));
  Run();
  EXPECT_TRUE(client_->events.empty());
  clock_.Advance(absl::Seconds(1));
  ExpectConnectError(ETIMEDOUT);
  EXPECT_EQ(client_->channel->NextDeadline(), absl::InfiniteFuture());
}

TEST_F(SetupTest, SendsAreRefusedBeforeEstablished) {
  client_qp_ = client_->NewQp();
  const SendWr wr = EmptyWrite(1);
  EXPECT_EQ(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).code(),
            absl::StatusCode::kFailedPrecondition);
  DialedByClient();
  EXPECT_EQ(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(SetupTest, MalformedRequestsAreClosedSilently) {
  const Bytes good = EncodeMpaFrame(RequestFrame(false));
  Bytes bad = good;
  bad[0] = 'm';
  ExpectSilentClose(bad);
  for (uint8_t revision : {0, 3}) {
    bad = good;
    bad[17] = revision;
    ExpectSilentClose(bad);
  }
  bad = good;
  PutBe16(&bad[18], 513);
  ExpectSilentClose(bad);
  bad = good;
  PutBe16(&bad[18], 3);
  ExpectSilentClose(bad);
  ExpectSilentClose(good + Bytes{0});
}

TEST_F(SetupTest, MarkersAreRejected) {
  MpaFrame request = RequestFrame(false);
  request.markers = true;
  raw_ = Dial();
  raw_->Write(EncodeMpaFrame(request));
  Run();
  MpaFrame reply;
  ASSERT_EQ(ParseMpaFrame(raw_->Read(), true, &reply).result,
            MpaParse::Result::kDone);
  EXPECT_TRUE(reply.rejected);
  EXPECT_TRUE(raw_->at_end());
  EXPECT_TRUE(server_->events.empty());
}

TEST_F(SetupTest, PrefixWithSenselessLimitIsRejected) {
  for (uint16_t limit : {127, 64769}) {
    MpaFrame request = RequestFrame(false);
    request.capabilities->max_ulpdu = limit;
    raw_ = Dial();
    raw_->Write(EncodeMpaFrame(request));
    Run();
    MpaFrame reply;
    ASSERT_EQ(ParseMpaFrame(raw_->Read(), true, &reply).result,
              MpaParse::Result::kDone);
    EXPECT_TRUE(reply.rejected);
  }
}

TEST_F(SetupTest, RequestInPiecesIsPutTogether) {
  const Bytes request = EncodeMpaFrame(RequestFrame(false, Counting(56)));
  raw_ = Dial();
  for (uint8_t byte : request) {
    EXPECT_TRUE(server_->events.empty());
    raw_->Write({byte});
    Run();
  }
  ASSERT_EQ(server_->Count(CmEvent::Type::kConnectRequest), 1);
}

TEST_F(SetupTest, TrickleOfARequestEndsAfterFiveSeconds) {
  const Bytes request = EncodeMpaFrame(RequestFrame(false));
  raw_ = Dial();
  for (size_t i = 0; i < 5; ++i) {
    raw_->Write({request[i]});
    Run();
    EXPECT_EQ(raw_->Read(), Bytes());
    EXPECT_FALSE(raw_->at_end());
    clock_.Advance(absl::Seconds(1));
  }
  Run();
  raw_->Read();
  EXPECT_TRUE(raw_->at_end());
}

TEST_F(SetupTest, HalfOpenConnectionsAreLimited) {
  std::vector<std::unique_ptr<RawPeer>> peers;
  for (size_t i = 0; i < kMaxHalfOpen; ++i) peers.push_back(Dial());
  Run();
  for (auto& peer : peers) {
    peer->Read();
    ASSERT_FALSE(peer->at_end());
  }
  raw_ = Dial();
  Run();
  raw_->Read();
  EXPECT_TRUE(raw_->at_end()) << "one too many";
  clock_.Advance(kRequestTimeout);
  Run();
  peers[0]->Read();
  EXPECT_TRUE(peers[0]->at_end());
  Request();  // there is room again
}

TEST_F(SetupTest, BytesBehindTheRequestAreAProtocolError) {
  raw_ = Dial();
  raw_->Write(EncodeMpaFrame(RequestFrame(false)));
  Run();
  raw_->Write({0});
  AcceptRaw();
  EXPECT_EQ(raw_->Read(), Bytes());
  EXPECT_TRUE(raw_->at_end() || raw_->was_reset());
  ASSERT_EQ(server_->events.size(), 1U);
  EXPECT_EQ(server_->events[0].type, CmEvent::Type::kDisconnected);
  EXPECT_EQ(ErrnoOf(server_->events[0].status), EPROTO);
}

TEST_F(SetupTest, PeerThatGaveUpIsSeenAtAccept) {
  raw_ = Dial();
  raw_->Write(EncodeMpaFrame(RequestFrame(false)));
  Run();
  raw_->Close();
  AcceptRaw();
  ASSERT_EQ(server_->events.size(), 1U);
  EXPECT_EQ(server_->events[0].type, CmEvent::Type::kDisconnected);
}

TEST_F(SetupTest, PeerThatClosesInSetupIsAConnectError) {
  DialedByClient();
  raw_->Close();
  ExpectConnectError(ECONNREFUSED);
}

TEST_F(SetupTest, DisconnectWhileConnectingEndsIt) {
  DialedByClient();
  client_qp_->Disconnect();
  Run();
  EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(client_qp_->state(), QueuePair::State::kClosed);
}

TEST_F(SetupTest, AQueuePairConnectsOnce) {
  Establish();
  EXPECT_EQ(client_qp_->Connect(PathTo(address_), {}, absl::Seconds(1)).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(SetupTest, GidPathsAreNotForSoftiwarp) {
  client_qp_ = client_->NewQp();
  PathSpec path;
  path.destination.kind = PathEnd::Kind::kGid;
  EXPECT_EQ(client_qp_->Connect(path, {}, absl::Seconds(1)).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace rtrs::fabric::softiwarp
