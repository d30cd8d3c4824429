// What both ends agree on: the first FPDU, limits, CRCs. spec/iwarp.md §1.
#include <gtest/gtest.h>

#include "tests/fabric/softiwarp/golden.h"
#include "tests/fabric/softiwarp/setup_fixture.h"

namespace rtrs::fabric::softiwarp {
namespace {

using NegotiationTest = SetupTest;

TEST_F(NegotiationTest, ResponderIsEstablishedByTheFirstFpdu) {
  AcceptRaw(RequestFrame(false));
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

TEST_F(NegotiationTest, ResponderWaitsTenSecondsForTheFirstFpdu) {
  AcceptRaw(RequestFrame(false));
  clock_.Advance(absl::Seconds(10));
  Run();
  ASSERT_EQ(server_->events.size(), 1U);
  EXPECT_EQ(server_->events[0].type, CmEvent::Type::kDisconnected);
  EXPECT_EQ(ErrnoOf(server_->events[0].status), ETIMEDOUT);
}

TEST_F(NegotiationTest, PlainInitiatorIsAcceptedAndItsFenceKept) {
  MpaFrame request;
  request.revision = 1;
  request.user_data = Counting(56);
  AcceptRaw(request);
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
  WriteFirstFpdu();
  FpduHeader immediate;
  immediate.opcode = Opcode::kImmediate;
  immediate.msn = 1;
  EXPECT_EQ(raw_->Read(), Fpdu(immediate, Hex("0000000500000000"), false));
}

TEST_F(NegotiationTest, PlainPeerGetsSmallFpdusAndNoSendWithImmediate) {
  MpaFrame request;
  request.revision = 1;
  AcceptRaw(request);
  raw_->Read();
  FpduHeader header = WriteFirstFpdu();
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

TEST_F(NegotiationTest, AnnouncedLimitIsKept) {
  MpaFrame request = RequestFrame(false);
  request.capabilities->max_ulpdu = 128;
  AcceptRaw(request);
  raw_->Read();
  WriteFirstFpdu();
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

TEST_F(NegotiationTest, InitiatorSendsTheRtrAndTakesWhatFollowsTheReply) {
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

TEST_F(NegotiationTest, RepliesThatAreRefused) {
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

TEST_F(NegotiationTest, RejectionWithoutEnhancedDataIsUnderstood) {
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

TEST_F(NegotiationTest, NoCommonRtrIsTerminated) {
  DialedByClient();
  MpaFrame reply = Reply();
  reply.enhanced->rtr_write = false;
  reply.enhanced->rtr_read = true;
  raw_->Write(EncodeMpaFrame(reply));
  ExpectConnectError(EPROTO);
  EXPECT_EQ(raw_->Read(), TerminateFpdu(kMpaNoMatchingRtr, {}, false));
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
