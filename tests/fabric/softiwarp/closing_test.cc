// How connections end, stall, and break. spec/iwarp.md §4.6, §5.4.
#include <gtest/gtest.h>

#include "rtrs/base/errno_status.h"
#include "rtrs/fabric/softiwarp/device_limits.h"
#include "tests/fabric/softiwarp/raw_peer.h"

namespace rtrs::fabric::softiwarp {
namespace {

class ClosingTest : public RawPeerTest {
 protected:
  SendWr Immediate(uint32_t imm) {
    SendWr wr;
    wr.wr_id = imm;
    wr.opcode = WrOpcode::kRdmaWriteWithImm;
    wr.flags = kSignaled;
    wr.imm = imm;
    return wr;
  }
  void PostSend(QueuePair* qp, const SendWr& wr) {
    ASSERT_TRUE(qp->PostSend({&wr, 1}, Doorbell::kNow).ok());
  }
  void PostRecvs(QueuePair* qp, int count) {
    const std::vector<RecvWr> list(static_cast<size_t>(count));
    ASSERT_TRUE(qp->PostRecv(list).ok());
  }
  static size_t CountStatus(const Endpoint& end, WcStatus status) {
    size_t n = 0;
    for (const WorkCompletion& wc : end.completions) n += wc.status == status;
    return n;
  }
  // An empty Send as FPDU.
  static Bytes SendFrame(uint32_t msn) {
    FpduHeader header;
    header.msn = msn;
    return Fpdu(header, {}, false);
  }
};

TEST_F(ClosingTest, DisconnectIsSeenByBothOnce) {
  Establish();
  PostRecvs(client_qp_.get(), 3);
  PostRecvs(server_qp_.get(), 4);
  client_qp_->Disconnect();
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(server_qp_->state(), QueuePair::State::kError);
  EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(client_qp_->state(), QueuePair::State::kClosed);
  EXPECT_EQ(CountStatus(*client_, WcStatus::kFlushed), 3U);
  EXPECT_EQ(CountStatus(*server_, WcStatus::kFlushed), 4U);
  server_qp_->Disconnect();
  client_qp_->Disconnect();
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(server_qp_->state(), QueuePair::State::kClosed);
}

TEST_F(ClosingTest, BothMayDisconnectAtOnce) {
  Establish();
  client_qp_->Disconnect();
  server_qp_->Disconnect();
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 1);
}

TEST_F(ClosingTest, SendsPostedBeforeDisconnectArrive) {
  Establish();
  Bytes data = Counting(1 << 20);
  Bytes target(1 << 20);
  auto data_mr = client_->Register(&data, 0);
  auto target_mr = server_->Register(&target);
  PostRecvs(server_qp_.get(), 1);
  const Sge sge = {data.data(), 1 << 20, data_mr->lkey()};
  SendWr wr = Immediate(9);
  wr.sg_list = {&sge, 1};
  wr.rkey = target_mr->rkey();
  wr.remote_address = target_mr->remote_address();
  ASSERT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kDeferred).ok());
  client_qp_->Disconnect();
  EXPECT_EQ(client_qp_->state(), QueuePair::State::kError);
  // Posted too late: taken and flushed.
  PostSend(client_qp_.get(), Immediate(10));
  PostRecvs(client_qp_.get(), 1);
  Run();
  EXPECT_EQ(target, data);
  ASSERT_GE(server_->completions.size(), 1U);
  EXPECT_EQ(server_->completions[0].imm, 9U);
  std::vector<std::pair<uint64_t, WcStatus>> sends;
  for (const WorkCompletion& wc : client_->completions) {
    if (wc.opcode != WcOpcode::kRecv) sends.emplace_back(wc.wr_id, wc.status);
  }
  EXPECT_EQ(sends, (std::vector<std::pair<uint64_t, WcStatus>>{
                       {9, WcStatus::kSuccess}, {10, WcStatus::kFlushed}}));
}

TEST_F(ClosingTest, DrainingEndsAfterFiveSeconds) {
  EstablishRaw();
  Bytes data(1 << 20);
  auto mr = server_->Register(&data, 0);
  const Sge sge = {data.data(), 1 << 20, mr->lkey()};
  SendWr wr = Immediate(1);
  wr.opcode = WrOpcode::kRdmaWrite;
  wr.sg_list = {&sge, 1};
  PostSend(server_qp_.get(), wr);  // more than the network holds
  server_qp_->Disconnect();
  Run();
  EXPECT_TRUE(server_->events.empty());
  clock_.Advance(kDrainTimeout);
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(server_qp_->state(), QueuePair::State::kClosed);
  ASSERT_EQ(server_->completions.size(), 1U);
  EXPECT_EQ(server_->completions[0].status, WcStatus::kFlushed);
}

TEST_F(ClosingTest, PeerThatDoesNotFollowIsLeftAfterFiveSeconds) {
  EstablishRaw();
  server_qp_->Disconnect();
  Run();
  raw_->Read();
  EXPECT_TRUE(raw_->at_end());
  EXPECT_TRUE(server_->events.empty());
  raw_->Write(SendFrame(1));  // discarded
  Run();
  clock_.Advance(kDrainTimeout);
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
}

TEST_F(ClosingTest, EndInsideAnFpduIsALostLink) {
  EstablishRaw();
  const Bytes frame = SendFrame(1);
  raw_->Write(Bytes(frame.begin(), frame.begin() + 10));
  raw_->End();
  Run();
  ASSERT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(ErrnoOf(server_->events[0].status), EPIPE);
}

TEST_F(ClosingTest, EndInsideAMessageIsALostLink) {
  EstablishRaw();
  PostRecvs(server_qp_.get(), 1);
  FpduHeader header;
  header.msn = 1;
  header.last = false;
  raw_->Write(Fpdu(header, {}, false));
  raw_->End();
  Run();
  ASSERT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(ErrnoOf(server_->events[0].status), EPIPE);
  ASSERT_EQ(server_->completions.size(), 1U);
  EXPECT_EQ(server_->completions[0].status, WcStatus::kFlushed);
}

TEST_F(ClosingTest, ResetIsALostLink) {
  EstablishRaw();
  PostRecvs(server_qp_.get(), 2);
  raw_->Reset();
  Run();
  ASSERT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(ErrnoOf(server_->events[0].status), ECONNRESET);
  EXPECT_EQ(CountStatus(*server_, WcStatus::kFlushed), 2U);
  // In error, posts are taken and flushed.
  PostRecvs(server_qp_.get(), 1);
  PostSend(server_qp_.get(), Immediate(1));
  Run();
  EXPECT_EQ(CountStatus(*server_, WcStatus::kFlushed), 4U);
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
}

TEST_F(ClosingTest, DestroyingAQueuePairResetsAndForgets) {
  Establish();
  PostRecvs(server_qp_.get(), 3);
  PostSend(client_qp_.get(), Immediate(1));
  client_qp_.reset();
  EXPECT_EQ(client_->cq->Poll({}), 0);
  Run();
  EXPECT_TRUE(client_->completions.empty());
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
}

TEST_F(ClosingTest, DestroyingAfterDisconnectLosesNothing) {
  Establish();
  PostRecvs(server_qp_.get(), 1);
  PostSend(client_qp_.get(), Immediate(5));
  client_qp_->Disconnect();
  client_qp_.reset();
  Run();
  ASSERT_EQ(server_->completions.size(), 1U);
  EXPECT_EQ(server_->completions[0].imm, 5U);
  EXPECT_EQ(ErrnoOf(server_->events.back().status), ECONNRESET);
  EXPECT_NE(server_->events.back().status.message().find("disconnected"),
            absl::string_view::npos)
      << "an orderly end, no reset";
}

TEST_F(ClosingTest, TerminateFromThePeerIsTheStatusOfTheOldestSend) {
  EstablishRaw();
  Bytes data(1 << 20);
  auto mr = server_->Register(&data, 0);
  const Sge sge = {data.data(), 1 << 20, mr->lkey()};
  SendWr wr = Immediate(1);
  wr.sg_list = {&sge, 1};
  PostSend(server_qp_.get(), wr);
  PostSend(server_qp_.get(), Immediate(2));
  raw_->Write(TerminateFpdu(kTaggedBounds, {}, false));
  Run();
  ASSERT_EQ(server_->completions.size(), 2U);
  EXPECT_EQ(server_->completions[0].status, WcStatus::kRemoteAccess);
  EXPECT_EQ(server_->completions[1].status, WcStatus::kFlushed);
  EXPECT_NE(server_->events[0].status.message().find("1/1/01"),
            absl::string_view::npos);
}

TEST_F(ClosingTest, TerminateWaitsForTheEndOfTheFpduInProgress) {
  EstablishRaw();
  Bytes data = Counting(1 << 20);
  auto mr = server_->Register(&data, 0);
  const Sge sge = {data.data(), 1 << 20, mr->lkey()};
  SendWr wr = Immediate(1);
  wr.opcode = WrOpcode::kRdmaWrite;
  wr.sg_list = {&sge, 1};
  PostSend(server_qp_.get(), wr);  // stops inside an FPDU: 256 KiB fit
  raw_->Write(SendFrame(7));
  Run();
  EXPECT_EQ(server_qp_->state(), QueuePair::State::kError);
  data.assign(data.size(), 0);  // flushed: the memory is ours again
  Bytes all = raw_->Read();
  Run();
  all = all + raw_->Read();
  // Whole FPDUs up to the Terminate.
  size_t at = 0;
  size_t fpdus = 0;
  FpduHeader header;
  while (at < all.size()) {
    Framing framing;
    ASSERT_GE(all.size(), at + kMaxHeaderSize);
    ASSERT_EQ(ParseFraming(&all[at], &framing), std::nullopt);
    ASSERT_EQ(DecodeFpduHeader(&all[at], &header), std::nullopt);
    if (header.opcode == Opcode::kWrite) {
      const Bytes expected = Counting(1 << 20);
      ASSERT_EQ(header.offset, fpdus * 64752);
      ASSERT_TRUE(std::equal(&all[at + 16], &all[at + 16] + header.payload,
                             &expected[header.offset]));
    }
    at += framing.fpdu_size;
    ++fpdus;
  }
  EXPECT_EQ(at, all.size());
  EXPECT_EQ(header.opcode, Opcode::kTerminate);
  EXPECT_EQ(fpdus, 6U) << "five Writes of which the last was in progress";
}

TEST_F(ClosingTest, LingeringAfterATerminateEndsAfterASecond) {
  EstablishRaw();
  raw_->Write(SendFrame(7));
  Run();
  raw_->Write(SendFrame(8));  // discarded, not answered with a reset
  Run();
  EXPECT_EQ(raw_->Read().size(), 48U);
  EXPECT_TRUE(raw_->at_end());
  EXPECT_EQ(server_->channel->NextDeadline(), clock_.Now() + kLingerTimeout);
  clock_.Advance(kLingerTimeout);
  Run();
  EXPECT_EQ(server_->channel->NextDeadline(), absl::InfiniteFuture());
}

TEST_F(ClosingTest, MessageWaitsForAReceive) {
  EstablishRaw();
  raw_->Write(SendFrame(1) + SendFrame(2));
  Run();
  EXPECT_TRUE(server_->completions.empty());
  clock_.Advance(kNoReceiveTimeout - absl::Milliseconds(1));
  Run();
  PostRecvs(server_qp_.get(), 1);
  EXPECT_FALSE(server_->channel->Arm());
  Run();
  EXPECT_EQ(server_->completions.size(), 1U);
  PostRecvs(server_qp_.get(), 1);
  Run();
  EXPECT_EQ(server_->completions.size(), 2U);
  EXPECT_EQ(server_->channel->NextDeadline(), absl::InfiniteFuture());
  raw_->Write(SendFrame(3));
  PostRecvs(server_qp_.get(), 1);
  Run();
  EXPECT_EQ(server_->completions.size(), 3U);
  EXPECT_TRUE(server_->events.empty());
}

TEST_F(ClosingTest, MessageWithoutAReceiveIsTerminated) {
  EstablishRaw();
  const Bytes frame = SendFrame(1);
  raw_->Write(frame);
  Run();
  clock_.Advance(kNoReceiveTimeout);
  Run();
  EXPECT_EQ(raw_->Read(),
            TerminateFpdu(kUntaggedNoBuffer,
                          Bytes(frame.begin(), frame.begin() + 20), false));
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
}

TEST_F(ClosingTest, ReceiveThatLostItsMemoryIsALocalError) {
  EstablishRaw();
  Bytes buffer(64);
  auto mr = server_->Register(&buffer);
  const RecvWr recv = {4, buffer.data(), 64, mr->lkey()};
  ASSERT_TRUE(server_qp_->PostRecv({&recv, 1}).ok());
  mr.reset();
  FpduHeader header;
  header.msn = 1;
  raw_->Write(Fpdu(header, Counting(8, 1), false));
  Run();
  ASSERT_EQ(server_->completions.size(), 1U);
  EXPECT_EQ(server_->completions[0].status, WcStatus::kLocalProtection);
  EXPECT_EQ(buffer, Bytes(64));
  EXPECT_EQ(raw_->Read(), TerminateFpdu(kLocalCatastrophic, {}, false));
}

TEST_F(ClosingTest, DeregistrationStopsAWriteInTheMiddle) {
  EstablishRaw();
  Bytes target(40000);
  auto mr = server_->Register(&target);
  FpduHeader header;
  header.tagged = true;
  header.opcode = Opcode::kWrite;
  header.stag = mr->rkey();
  header.offset = mr->remote_address();
  const Bytes frame = Fpdu(header, Bytes(40000, 0xee), false);
  raw_->Write(Bytes(frame.begin(), frame.begin() + 20000));
  Run();
  EXPECT_EQ(target[19000], 0xee);
  mr.reset();
  raw_->Write(Bytes(frame.begin() + 20000, frame.end()));
  Run();
  EXPECT_EQ(target[25000], 0) << "placed into memory that was given back";
  EXPECT_EQ(raw_->Read(),
            TerminateFpdu(kTaggedInvalidStag,
                          Bytes(frame.begin(), frame.begin() + 16), false));
}

TEST_F(ClosingTest, OverflowOfACompletionQueueIsFatal) {
  auto small = *server_->channel->CreateCq(2);
  server_->cq = std::move(small);
  EstablishRaw();
  PostRecvs(server_qp_.get(), 3);
  raw_->Write(SendFrame(1) + SendFrame(2) + SendFrame(3));
  server_->channel->Progress();
  EXPECT_EQ(server_qp_->state(), QueuePair::State::kError);
  Run();
  EXPECT_EQ(raw_->Read(), TerminateFpdu(kLocalCatastrophic, {}, false));
  server_qp_.reset();
}

TEST_F(ClosingTest, CutConnectionsAreSeenAtBothEnds) {
  Establish();
  faults_.CutAll();
  Run();
  EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
}

}  // namespace
}  // namespace rtrs::fabric::softiwarp
