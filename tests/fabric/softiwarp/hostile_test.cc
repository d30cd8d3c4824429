// Each row of spec/iwarp.md §6.3 about FPDUs: what a bad field leads to.
#include "rtrs/base/errno_status.h"
#include "tests/fabric/softiwarp/hostile_fixture.h"

namespace rtrs::fabric::softiwarp {
namespace {

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
