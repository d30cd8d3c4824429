// Set-up of connections: spec/iwarp.md §1, and its rows of §6.3.
#include <gtest/gtest.h>
#include <poll.h>

#include "rtrs/base/errno_status.h"
#include "rtrs/fabric/softiwarp/device_limits.h"
#include "tests/fabric/softiwarp/golden.h"
#include "tests/fabric/softiwarp/raw_peer.h"

namespace rtrs::fabric::softiwarp {
namespace {

class SetupTest : public RawPeerTest {
 protected:
  explicit SetupTest(SoftiwarpOptions::Crc crc = SoftiwarpOptions::Crc::kOff)
      : RawPeerTest(crc) {}

  // A raw responder for client_qp_; returns the Request.
  Bytes DialedByClient() {
    listener_.reset();
    acceptor_ = *memory_.Listen(address_, 1);
    client_qp_ = client_->NewQp();
    EXPECT_TRUE(
        client_qp_->Connect(PathTo(address_), Counting(56), absl::Seconds(30))
            .ok());
    Run();
    raw_ = std::make_unique<RawPeer>(*acceptor_->Accept());
    Run();
    return raw_->Read();
  }
  static MpaFrame Reply() {
    MpaFrame reply = RequestFrame(false);
    reply.reply = true;
    return reply;
  }
  void ExpectConnectError(int error) {
    Run();
    EXPECT_EQ(client_qp_->state(), QueuePair::State::kError);
    ASSERT_EQ(client_->events.size(), 1U);
    EXPECT_EQ(client_->events[0].type, CmEvent::Type::kConnectError);
    EXPECT_EQ(ErrnoOf(client_->events[0].status), error);
  }
  // `request` is closed without an answer and without an event.
  void ExpectSilentClose(const Bytes& request) {
    raw_ = Dial();
    raw_->Write(request);
    Run();
    EXPECT_EQ(raw_->Read(), Bytes());
    EXPECT_TRUE(raw_->at_end() || raw_->was_reset());
    EXPECT_TRUE(server_->events.empty());
  }
  void AcceptRaw() {
    server_qp_ = server_->NewQp();
    ASSERT_TRUE(server_qp_->Accept(TakeRequest(), Counting(8, 0x80)).ok());
    Run();
  }
  SendWr EmptyWrite(uint32_t imm) {
    SendWr wr;
    wr.opcode = WrOpcode::kRdmaWriteWithImm;
    wr.imm = imm;
    return wr;
  }

  std::unique_ptr<StreamListener> acceptor_;
};

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

TEST_F(SetupTest, ResponderIsEstablishedByTheFirstFpdu) {
  raw_ = Dial();
  raw_->Write(EncodeMpaFrame(RequestFrame(false)));
  Run();
  AcceptRaw();
  EXPECT_TRUE(server_->events.empty());
  EXPECT_EQ(server_qp_->state(), QueuePair::State::kConnecting);
  const RecvWr recv = {1, nullptr, 0, 0};
  ASSERT_TRUE(server_qp_->PostRecv({&recv, 1}).ok());
  // Any valid FPDU is accepted as RTR.
  FpduHeader send;
  send.msn = 1;
  raw_->Write(Fpdu(send, {}, false));
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kEstablished), 1);
  EXPECT_EQ(server_->completions.size(), 1U);
}

TEST_F(SetupTest, ResponderWaitsTenSecondsForTheFirstFpdu) {
  raw_ = Dial();
  raw_->Write(EncodeMpaFrame(RequestFrame(false)));
  Run();
  AcceptRaw();
  clock_.Advance(absl::Seconds(10));
  Run();
  ASSERT_EQ(server_->events.size(), 1U);
  EXPECT_EQ(server_->events[0].type, CmEvent::Type::kDisconnected);
  EXPECT_EQ(ErrnoOf(server_->events[0].status), ETIMEDOUT);
}

TEST_F(SetupTest, PlainInitiatorIsAcceptedAndItsFenceKept) {
  raw_ = Dial();
  MpaFrame request;
  request.revision = 1;
  request.user_data = Counting(56);
  raw_->Write(EncodeMpaFrame(request));
  Run();
  AcceptRaw();
  MpaFrame reply;
  ASSERT_EQ(ParseMpaFrame(raw_->Read(), true, &reply).result,
            MpaParse::Result::kDone);
  EXPECT_EQ(reply.revision, 1);
  EXPECT_FALSE(reply.enhanced);
  EXPECT_FALSE(reply.capabilities);
  EXPECT_EQ(reply.user_data, Counting(8, 0x80));
  EXPECT_EQ(server_->Count(CmEvent::Type::kEstablished), 1);
  const SendWr wr = EmptyWrite(5);
  ASSERT_TRUE(server_qp_->PostSend({&wr, 1}, Doorbell::kNow).ok());
  Run();
  EXPECT_EQ(raw_->Read(), Bytes()) << "nothing before the first FPDU";
  FpduHeader write;
  write.tagged = true;
  write.opcode = Opcode::kWrite;
  raw_->Write(Fpdu(write, {}, false));
  Run();
  FpduHeader immediate;
  immediate.opcode = Opcode::kImmediate;
  immediate.msn = 1;
  EXPECT_EQ(raw_->Read(), Fpdu(immediate, Hex("0000000500000000"), false));
}

TEST_F(SetupTest, PlainPeerGetsSmallFpdusAndNoSendWithImmediate) {
  raw_ = Dial();
  MpaFrame request;
  request.revision = 1;
  raw_->Write(EncodeMpaFrame(request));
  Run();
  AcceptRaw();
  raw_->Read();
  FpduHeader header;
  header.tagged = true;
  header.opcode = Opcode::kWrite;
  raw_->Write(Fpdu(header, {}, false));
  Run();
  SendWr wr = EmptyWrite(1);
  wr.opcode = WrOpcode::kSendWithImm;
  EXPECT_EQ(ErrnoOf(server_qp_->PostSend({&wr, 1}, Doorbell::kNow)),
            EOPNOTSUPP);
  Bytes data = Counting(3000);
  auto mr = server_->Register(&data, 0);
  const Sge sge = {data.data(), 3000, mr->lkey()};
  wr = {};
  wr.opcode = WrOpcode::kRdmaWrite;
  wr.rkey = 7;
  wr.remote_address = 0x1000;
  wr.sg_list = {&sge, 1};
  ASSERT_TRUE(server_qp_->PostSend({&wr, 1}, Doorbell::kNow).ok());
  Run();
  // EMSS 1448: MULPDU 1442, payload 1428.
  Bytes expected;
  for (size_t at = 0; at < 3000; at += 1428) {
    header.stag = 7;
    header.offset = 0x1000 + at;
    header.last = at + 1428 >= 3000;
    const auto from = data.begin() + static_cast<ssize_t>(at);
    expected = expected +
               Fpdu(header, Bytes(from, header.last ? data.end() : from + 1428),
                    false);
  }
  EXPECT_EQ(raw_->Read(), expected);
}

TEST_F(SetupTest, AnnouncedLimitIsKept) {
  raw_ = Dial();
  MpaFrame request = RequestFrame(false);
  request.capabilities->max_ulpdu = 128;
  raw_->Write(EncodeMpaFrame(request));
  Run();
  AcceptRaw();
  raw_->Read();
  FpduHeader header;
  header.tagged = true;
  header.opcode = Opcode::kWrite;
  raw_->Write(Fpdu(header, {}, false));
  Run();
  Bytes data = Counting(200);
  auto mr = server_->Register(&data, 0);
  const Sge sge = {data.data(), 200, mr->lkey()};
  SendWr wr;
  wr.sg_list = {&sge, 1};
  ASSERT_TRUE(server_qp_->PostSend({&wr, 1}, Doorbell::kNow).ok());
  Run();
  FpduHeader first;
  first.msn = 1;
  first.last = false;
  FpduHeader second;
  second.msn = 1;
  second.message_offset = 108;
  EXPECT_EQ(raw_->Read(),
            Fpdu(first, Bytes(data.begin(), data.begin() + 108), false) +
                Fpdu(second, Bytes(data.begin() + 108, data.end()), false));
}

TEST_F(SetupTest, InitiatorSendsTheRtrAndTakesWhatFollowsTheReply) {
  DialedByClient();
  const RecvWr recv = {1, nullptr, 0, 0};
  ASSERT_TRUE(client_qp_->PostRecv({&recv, 1}).ok());
  FpduHeader send;
  send.msn = 1;
  raw_->Write(EncodeMpaFrame(Reply()) + Fpdu(send, {}, false));
  Run();
  EXPECT_EQ(client_->Count(CmEvent::Type::kEstablished), 1);
  EXPECT_EQ(client_->completions.size(), 1U);
  Bytes rtr = Hex(golden::kRtr);
  PutBe32(&rtr[16], 0);  // crc off
  EXPECT_EQ(raw_->Read(), rtr);
}

TEST_F(SetupTest, RepliesThatAreRefused) {
  const auto try_reply = [&](const MpaFrame& reply) {
    DialedByClient();
    raw_->Write(EncodeMpaFrame(reply));
    ExpectConnectError(EPROTO);
    EXPECT_EQ(raw_->Read(), Bytes());
    EXPECT_TRUE(raw_->at_end() || raw_->was_reset());
    client_->events.clear();
    acceptor_.reset();
  };
  MpaFrame reply = Reply();
  reply.markers = true;
  try_reply(reply);
  reply = Reply();
  reply.enhanced.reset();
  try_reply(reply);
  reply = Reply();
  reply.capabilities->max_ulpdu = 100;
  try_reply(reply);
  reply = Reply();
  reply.revision = 3;
  try_reply(reply);
  try_reply(RequestFrame(false));  // both sides active
}

TEST_F(SetupTest, RejectionWithoutEnhancedDataIsUnderstood) {
  DialedByClient();
  MpaFrame reply = Reply();
  reply.enhanced.reset();
  reply.capabilities.reset();
  reply.rejected = true;
  reply.user_data = Counting(12);
  raw_->Write(EncodeMpaFrame(reply));
  Run();
  ASSERT_EQ(client_->events.size(), 1U);
  EXPECT_EQ(client_->events[0].type, CmEvent::Type::kRejected);
  EXPECT_EQ(client_->events[0].private_data, Counting(12));
}

TEST_F(SetupTest, NoCommonRtrIsTerminated) {
  DialedByClient();
  MpaFrame reply = Reply();
  reply.enhanced->rtr_write = false;
  reply.enhanced->rtr_read = true;
  raw_->Write(EncodeMpaFrame(reply));
  ExpectConnectError(EPROTO);
  EXPECT_EQ(raw_->Read(), TerminateFpdu(kMpaNoMatchingRtr, {}, false));
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

// crc=on at either end turns CRCs on; auto goes by where the peer is.
class CrcChoiceTest : public SetupTest {
 protected:
  CrcChoiceTest() : SetupTest(SoftiwarpOptions::Crc::kAuto) {}
  bool CrcOfRequest() {
    MpaFrame frame;
    ParseMpaFrame(DialedByClient(), false, &frame);
    return frame.crc;
  }
};

TEST_F(CrcChoiceTest, OffForAPeerOnThisHost) { EXPECT_FALSE(CrcOfRequest()); }

TEST_F(CrcChoiceTest, WishOfThePeerIsFollowed) {
  EstablishRaw(/*crc=*/true);
  // The server checks and sends CRCs from now on.
  FpduHeader send;
  send.msn = 1;
  raw_->Write(Fpdu(send, {}, false));
  Run();
  EXPECT_EQ(raw_->Read(), TerminateFpdu(kMpaCrc, {}, true));
}

class FarPeerTest : public SoftiwarpTest {
 protected:
  FarPeerTest()
      : SoftiwarpTest(SoftiwarpOptions::Crc::kAuto,
                      MemoryTransport::Options{.stays_on_host = false}) {}
};

TEST_F(FarPeerTest, AutoMeansOnForAPeerElsewhere) {
  listener_.reset();
  auto acceptor = *memory_.Listen(address_, 1);
  client_qp_ = client_->NewQp();
  ASSERT_TRUE(
      client_qp_->Connect(PathTo(address_), {}, absl::Seconds(30)).ok());
  Run();
  RawPeer raw(*acceptor->Accept());
  Run();
  MpaFrame frame;
  ParseMpaFrame(raw.Read(), false, &frame);
  EXPECT_TRUE(frame.crc);
}

}  // namespace
}  // namespace rtrs::fabric::softiwarp
