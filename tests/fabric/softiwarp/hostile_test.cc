// Each row of spec/iwarp.md §6.3 about FPDUs: what a bad field leads to.
#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "rtrs/base/errno_status.h"
#include "tests/fabric/softiwarp/golden.h"
#include "tests/fabric/softiwarp/raw_peer.h"

namespace rtrs::fabric::softiwarp {
namespace {

class HostileTest : public RawPeerTest,
                    public ::testing::WithParamInterface<bool> {
 protected:
  bool crc() const { return GetParam(); }

  void SetUp() override {
    EstablishRaw(crc());
    memory_bytes_.assign(4096, 0);
    mr_ = server_->Register(&memory_bytes_);
    for (uint64_t i = 0; i < 8; ++i) {
      const RecvWr recv = {i, memory_bytes_.data() + i * 16, 16, mr_->lkey()};
      ASSERT_TRUE(server_qp_->PostRecv({&recv, 1}).ok());
    }
  }

  FpduHeader Send(uint32_t msn = 1) const {
    FpduHeader header;
    header.opcode = Opcode::kSend;
    header.msn = msn;
    return header;
  }
  FpduHeader Immediate(uint32_t msn = 1) const {
    FpduHeader header = Send(msn);
    header.opcode = Opcode::kImmediate;
    return header;
  }
  FpduHeader Write(size_t at = 1024) const {
    FpduHeader header;
    header.tagged = true;
    header.opcode = Opcode::kWrite;
    header.stag = mr_->rkey();
    header.offset = mr_->remote_address() + at;
    return header;
  }
  Bytes Frame(const FpduHeader& header, const Bytes& payload) const {
    return Fpdu(header, payload, crc());
  }
  // A frame with one byte changed before the CRC was computed.
  Bytes Changed(const FpduHeader& header, const Bytes& payload, size_t at,
                const std::function<uint8_t(uint8_t)>& change) const {
    Bytes frame = Frame(header, payload);
    frame[at] = change(frame[at]);
    return crc() ? WithCrc(frame) : frame;
  }

  // `bytes` make the server terminate with `code`; its Terminate carries the
  // header of `offender`, or none.
  void ExpectTerminate(const Bytes& bytes, TerminateCode code,
                       const std::optional<Bytes>& offender) {
    raw_->Write(bytes);
    Run();
    Bytes header;
    if (offender) {
      header.assign(offender->begin(),
                    offender->begin() + ((*offender)[2] & 0x80 ? 16 : 20));
    }
    EXPECT_EQ(raw_->Read(), TerminateFpdu(code, header, crc()));
    EXPECT_TRUE(raw_->at_end());
    EXPECT_EQ(server_qp_->state(), QueuePair::State::kError);
    ASSERT_EQ(server_->events.size(), 1U);
    EXPECT_EQ(server_->events[0].type, CmEvent::Type::kDisconnected);
    EXPECT_EQ(ErrnoOf(server_->events[0].status), EPROTO);
    raw_->Close();
    Run();
  }
  void ExpectTerminate(const Bytes& bytes, TerminateCode code) {
    ExpectTerminate(bytes, code, bytes);
  }
  void ExpectFine(const Bytes& bytes) {
    raw_->Write(bytes);
    Run();
    EXPECT_EQ(raw_->Read(), Bytes());
    EXPECT_FALSE(raw_->at_end());
    EXPECT_EQ(server_qp_->state(), QueuePair::State::kEstablished);
  }
  size_t Successes() const {
    size_t n = 0;
    for (const WorkCompletion& wc : server_->completions) {
      n += wc.status == WcStatus::kSuccess;
    }
    return n;
  }
  bool Untouched() const { return memory_bytes_ == Bytes(4096); }

  Bytes memory_bytes_;
  std::unique_ptr<MemoryRegion> mr_;
};

INSTANTIATE_TEST_SUITE_P(Crc, HostileTest, ::testing::Bool());

TEST_P(HostileTest, UlpduTooShort) {
  Bytes frame = Frame(Write(), {});
  PutBe16(&frame[0], 13);
  ExpectTerminate(frame, kRdmapUnspecified, std::nullopt);
}

TEST_P(HostileTest, UlpduTooShortForUntagged) {
  Bytes frame = Frame(Send(), {});
  PutBe16(&frame[0], 17);
  ExpectTerminate(frame, kRdmapUnspecified, std::nullopt);
}

TEST_P(HostileTest, UlpduOfZero) {
  ExpectTerminate(Bytes(20), kRdmapUnspecified, std::nullopt);
}

TEST_P(HostileTest, UlpduAboveOurLimit) {
  Bytes frame = Frame(Write(), {});
  PutBe16(&frame[0], 64769);
  ExpectTerminate(frame, kRdmapUnspecified, std::nullopt);
}

TEST_P(HostileTest, CrcMismatch) {
  if (!crc()) return;
  for (size_t at : {2U, 10U, 25U, 33U}) {
    Bytes frame = Frame(Write(), Counting(16, 1));
    frame[at] ^= 0x40;
    ExpectTerminate(frame + Frame(Write(), Counting(16)), kMpaCrc,
                    std::nullopt);
    EXPECT_TRUE(Untouched());
    server_->events.clear();
    server_qp_.reset();
    EstablishRaw(true);
  }
}

TEST_P(HostileTest, CrcFieldIsIgnoredWhenOff) {
  if (crc()) return;
  Bytes frame = Frame(Write(), Counting(16, 1));
  frame.back() = 0x55;
  ExpectFine(frame);
}

TEST_P(HostileTest, PadAndReservedBitsAreIgnored) {
  Bytes frame = Frame(Send(), Counting(5, 1));
  frame[2] |= 0x3c;
  frame[3] |= 0x30;
  frame[25] = frame[27] = 0xaa;
  ExpectFine(crc() ? WithCrc(frame) : frame);
  EXPECT_EQ(Successes(), 1U);
}

TEST_P(HostileTest, DdpVersionOfTagged) {
  ExpectTerminate(
      Changed(Write(), Counting(4), 2, [](uint8_t b) { return b ^ 0x03; }),
      kTaggedDdpVersion, std::nullopt);
}

TEST_P(HostileTest, DdpVersionOfUntagged) {
  ExpectTerminate(Changed(Send(), {}, 2, [](uint8_t b) { return b & 0xfc; }),
                  kUntaggedDdpVersion, std::nullopt);
}

TEST_P(HostileTest, RdmapVersion) {
  ExpectTerminate(Changed(Send(), {}, 3, [](uint8_t b) { return b & 0x3f; }),
                  kRdmapVersion);
}

TEST_P(HostileTest, OpcodesThatWeRefuse) {
  for (uint8_t opcode : {1, 2, 10, 11, 12, 13, 14, 15}) {
    ExpectTerminate(Changed(opcode == 2 || opcode == 11 ? Write() : Send(), {},
                            3, [&](uint8_t b) { return (b & 0xf0) | opcode; }),
                    kUnexpectedOpcode);
    server_->events.clear();
    server_qp_.reset();
    EstablishRaw(crc());
  }
}

TEST_P(HostileTest, TagThatDoesNotFitTheOpcode) {
  ExpectTerminate(Changed(Write(), {}, 3, [](uint8_t b) { return b | 3; }),
                  kUnexpectedOpcode);
  server_->events.clear();
  EstablishRaw(crc());
  ExpectTerminate(Changed(Send(), {}, 3, [](uint8_t b) { return b & 0xf0; }),
                  kUnexpectedOpcode);
}

TEST_P(HostileTest, QueueNumber) {
  FpduHeader header = Send();
  for (uint32_t queue : {1U, 2U, 3U, 0x80000000U}) {
    header.queue_number = queue;
    ExpectTerminate(Frame(header, {}), kUntaggedQueueNumber);
    server_->events.clear();
    EstablishRaw(crc());
  }
  FpduHeader terminate = Send();
  terminate.opcode = Opcode::kTerminate;
  ExpectTerminate(Frame(terminate, Bytes(4)), kUntaggedQueueNumber);
}

TEST_P(HostileTest, MessageSequenceNumber) {
  for (uint32_t msn : {0U, 2U, 0xffffffffU}) {
    ExpectTerminate(Frame(Send(msn), {}), kUntaggedMsnRange);
    server_->events.clear();
    EstablishRaw(crc());
  }
}

TEST_P(HostileTest, MessageSequenceNumberTwice) {
  const Bytes frame = Frame(Send(1), {});
  ExpectTerminate(frame + frame, kUntaggedMsnRange);
  EXPECT_EQ(Successes(), 1U);
}

TEST_P(HostileTest, MessageOffset) {
  FpduHeader header = Send();
  header.message_offset = 4;
  ExpectTerminate(Frame(header, {}), kUntaggedOffset);
}

TEST_P(HostileTest, MessageOffsetWithAGap) {
  FpduHeader first = Send();
  first.last = false;
  FpduHeader second = Send();
  second.message_offset = 8;
  const Bytes bad = Frame(second, {1});
  ExpectTerminate(Frame(first, {1, 2, 3, 4}) + bad, kUntaggedOffset, bad);
}

TEST_P(HostileTest, OpcodeChangesInsideAMessage) {
  FpduHeader first = Send();
  first.last = false;
  FpduHeader second = Send();
  second.opcode = Opcode::kSendSolicited;
  second.message_offset = 4;
  const Bytes bad = Frame(second, {1});
  ExpectTerminate(Frame(first, {1, 2, 3, 4}) + bad, kUnexpectedOpcode, bad);
}

TEST_P(HostileTest, QueueNumberChangesInsideAMessage) {
  FpduHeader first = Send();
  first.last = false;
  FpduHeader second = Send();
  second.queue_number = 1;
  second.message_offset = 4;
  const Bytes bad = Frame(second, {1});
  ExpectTerminate(Frame(first, {1, 2, 3, 4}) + bad, kUnexpectedOpcode, bad);
}

TEST_P(HostileTest, InvalidateStagChangesInsideAMessage) {
  FpduHeader first = Send();
  first.opcode = Opcode::kSendInvalidate;
  first.invalidate_stag = mr_->rkey();
  first.last = false;
  FpduHeader second = first;
  second.last = true;
  second.invalidate_stag ^= 1;
  second.message_offset = 4;
  const Bytes bad = Frame(second, {1});
  ExpectTerminate(Frame(first, {1, 2, 3, 4}) + bad, kUnexpectedOpcode, bad);
}

TEST_P(HostileTest, MsnChangesInsideAMessage) {
  FpduHeader first = Send();
  first.last = false;
  FpduHeader second = Send(2);
  second.message_offset = 4;
  const Bytes bad = Frame(second, {1});
  ExpectTerminate(Frame(first, {1, 2, 3, 4}) + bad, kUntaggedMsnRange, bad);
}

TEST_P(HostileTest, MessageLongerThanTheReceive) {
  const Bytes frame = Frame(Send(), Counting(17, 1));
  ExpectTerminate(frame, kUntaggedTooLong);
  EXPECT_TRUE(Untouched());
  EXPECT_EQ(server_->completions[0].status, WcStatus::kLocalLength);
  EXPECT_EQ(server_->completions[0].wr_id, 0U);
  EXPECT_EQ(server_->completions[1].status, WcStatus::kFlushed);
  EXPECT_EQ(server_->completions.size(), 8U);
}

TEST_P(HostileTest, SecondSegmentBeyondTheReceive) {
  FpduHeader first = Send();
  first.last = false;
  FpduHeader second = Send();
  second.message_offset = 12;
  const Bytes bad = Frame(second, Counting(5));
  ExpectTerminate(Frame(first, Counting(12)) + bad, kUntaggedTooLong, bad);
}

TEST_P(HostileTest, ImmediateOfWrongShape) {
  ExpectTerminate(Frame(Immediate(), Bytes(7)), kRdmapUnspecified);
  server_->events.clear();
  EstablishRaw(crc());
  ExpectTerminate(Frame(Immediate(), Bytes(9)), kRdmapUnspecified);
  server_->events.clear();
  EstablishRaw(crc());
  ExpectTerminate(Frame(Immediate(), Bytes(5000)), kRdmapUnspecified);
  server_->events.clear();
  EstablishRaw(crc());
  FpduHeader header = Immediate();
  header.last = false;
  ExpectTerminate(Frame(header, Bytes(8)), kRdmapUnspecified);
  server_->events.clear();
  EstablishRaw(crc());
  header = Immediate();
  header.message_offset = 8;
  ExpectTerminate(Frame(header, Bytes(8)), kRdmapUnspecified);
}

TEST_P(HostileTest, ImmediateWithUnknownWord1) {
  ExpectTerminate(Frame(Immediate(), Hex("2000000500000002")),
                  kRdmapUnspecified);
}

TEST_P(HostileTest, PendingImmediateWithoutItsSend) {
  const Bytes paired = Frame(Immediate(), Hex("2000000500000001"));
  for (int kind = 0; kind < 4; ++kind) {
    Bytes next;
    if (kind == 0) next = Frame(Write(), {1, 2, 3, 4});
    if (kind == 1) next = Frame(Immediate(2), Hex("2000000500000001"));
    if (kind == 2) next = Frame(Immediate(2), Hex("2000000500000000"));
    if (kind == 3) {
      FpduHeader header = Send(2);
      header.opcode = Opcode::kSendInvalidate;
      header.invalidate_stag = mr_->rkey();
      next = Frame(header, {});
    }
    ExpectTerminate(paired + next, kUnexpectedOpcode, next);
    server_->events.clear();
    EstablishRaw(crc());
  }
  EXPECT_TRUE(Untouched());
  EXPECT_EQ(Successes(), 0U);
}

TEST_P(HostileTest, UnknownStag) {
  FpduHeader header = Write();
  header.stag ^= 0x00010000;
  ExpectTerminate(Frame(header, {1, 2, 3, 4}), kTaggedInvalidStag);
}

TEST_P(HostileTest, StagWithoutRemoteWrite) {
  auto local = server_->Register(&memory_bytes_, kLocalWrite);
  FpduHeader header = Write();
  header.stag = local->rkey();
  ExpectTerminate(Frame(header, {1, 2, 3, 4}), kTaggedInvalidStag);
  EXPECT_TRUE(Untouched());
}

TEST_P(HostileTest, DeregisteredStag) {
  const FpduHeader header = Write();
  mr_.reset();
  ExpectTerminate(Frame(header, {1, 2, 3, 4}), kTaggedInvalidStag);
  EXPECT_TRUE(Untouched());
}

TEST_P(HostileTest, StagOfAnotherDomain) {
  auto foreign = client_->Register(&memory_bytes_);
  FpduHeader header = Write();
  header.stag = foreign->rkey();
  ExpectTerminate(Frame(header, {1, 2, 3, 4}), kTaggedForeignStag);
  EXPECT_TRUE(Untouched());
}

TEST_P(HostileTest, WriteBeyondTheRegion) {
  ExpectTerminate(Frame(Write(4093), {1, 2, 3, 4}), kTaggedBounds);
  EXPECT_TRUE(Untouched());
}

TEST_P(HostileTest, WriteBeforeTheRegion) {
  FpduHeader header = Write(0);
  --header.offset;
  ExpectTerminate(Frame(header, {1, 2, 3, 4}), kTaggedBounds);
}

TEST_P(HostileTest, WriteThatWraps) {
  FpduHeader header = Write();
  header.offset = 0xfffffffffffffffe;
  ExpectTerminate(Frame(header, {1, 2, 3, 4}), kTaggedOffsetWrap);
}

TEST_P(HostileTest, EmptyWriteMayNameAnything) {
  FpduHeader header = Write();
  header.stag = 0xdeadbeef;
  header.offset = ~uint64_t{0};
  ExpectFine(Frame(header, {}));
}

TEST_P(HostileTest, SegmentsOfOneWriteMayJump) {
  FpduHeader first = Write(2048);
  first.last = false;
  ExpectFine(Frame(first, {1, 2, 3, 4}) + Frame(Write(1024), {5, 6, 7, 8}));
  EXPECT_EQ(memory_bytes_[2048], 1);
  EXPECT_EQ(memory_bytes_[1024], 5);
}

TEST_P(HostileTest, EndlessEmptySegments) {
  for (const FpduHeader& kind : {Write(), Send()}) {
    FpduHeader header = kind;
    header.last = false;
    const Bytes frame = Frame(header, {});
    Bytes run;
    for (int i = 0; i < 16; ++i) run = run + frame;
    ExpectFine(run);
    ExpectTerminate(frame, kRdmapUnspecified);
    server_->events.clear();
    SetUp();
  }
}

TEST_P(HostileTest, InvalidationOfWhatMustNotBe) {
  FpduHeader header = Send();
  header.opcode = Opcode::kSendInvalidate;
  auto local = server_->Register(&memory_bytes_, kLocalWrite);
  auto foreign = client_->Register(&memory_bytes_);
  const std::pair<uint32_t, TerminateCode> cases[] = {
      {mr_->rkey() ^ 0x00010000, kInvalidateUnknownStag},
      {foreign->rkey(), kInvalidateForeignStag},
      {local->rkey(), kInvalidateRefused}};
  for (const auto& [stag, code] : cases) {
    header.invalidate_stag = stag;
    ExpectTerminate(Frame(header, {}), code);
    EXPECT_EQ(Successes(), 0U);
    server_->events.clear();
    server_qp_.reset();
    server_->completions.clear();
    EstablishRaw(crc());
    const RecvWr recv = {0, nullptr, 0, 0};
    ASSERT_TRUE(server_qp_->PostRecv({&recv, 1}).ok());
  }
}

TEST_P(HostileTest, TerminateIsNeverAnswered) {
  FpduHeader header;
  header.opcode = Opcode::kTerminate;
  header.queue_number = kTerminateQueueNumber;
  header.msn = 1;
  for (const Bytes& payload :
       {Bytes(), Bytes(1), Hex("1100c000"), Bytes(64, 0xff), Bytes(9000)}) {
    const Bytes frame = Frame(header, payload);
    raw_->Write(frame + frame + Frame(Write(), {1, 2, 3, 4}));
    Run();
    EXPECT_EQ(raw_->Read(), Bytes());
    ASSERT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
    EXPECT_EQ(ErrnoOf(server_->events.back().status), EREMOTEIO);
    EXPECT_TRUE(Untouched());
    server_->events.clear();
    server_qp_.reset();
    EstablishRaw(crc());
  }
}

TEST_P(HostileTest, FirstErrorWins) {
  const Bytes bad = Frame(Write(4093), {1, 2, 3, 4});
  ExpectTerminate(bad + Frame(Send(9), {}), kTaggedBounds, bad);
}

TEST_P(HostileTest, WritesAndSendsMayInterleave) {
  FpduHeader send1 = Send();
  send1.last = false;
  FpduHeader send2 = Send();
  send2.message_offset = 4;
  FpduHeader write1 = Write(1024);
  write1.last = false;
  ExpectFine(Frame(send1, {1, 2, 3, 4}) + Frame(write1, {9, 9, 9, 9}) +
             Frame(send2, {5}) + Frame(Write(1028), {8}));
  EXPECT_EQ(Successes(), 1U);
  EXPECT_EQ(Bytes(&memory_bytes_[0], &memory_bytes_[5]), Counting(5, 1));
  EXPECT_EQ(Bytes(&memory_bytes_[1024], &memory_bytes_[1029]),
            Hex("0909090908"));
}

}  // namespace
}  // namespace rtrs::fabric::softiwarp
