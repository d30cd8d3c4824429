// CRC, FPDU headers, Terminate and MPA frames, byte by byte.
#include <gtest/gtest.h>

#include "tests/fabric/softiwarp/golden.h"
#include "tests/fabric/softiwarp/raw_peer.h"

namespace rtrs::fabric::softiwarp {
namespace {

Bytes CrcBytes(const Bytes& of) {
  Crc32c crc;
  crc.Add(of.data(), of.size());
  Bytes out(4);
  PutLe32(out.data(), crc.value());
  return out;
}

TEST(Crc32cTest, CheckValue) {
  const std::string digits = "123456789";
  Crc32c crc;
  crc.Add(digits.data(), digits.size());
  EXPECT_EQ(crc.value(), 0xE3069283U);
  EXPECT_EQ(CrcBytes(Bytes(digits.begin(), digits.end())), Hex("839206E3"));
}

TEST(Crc32cTest, VectorsOfRfc5044) {
  Bytes figure5 = Hex("00000000 002A4143 00000000 00000000 00000001 00000000");
  figure5.resize(figure5.size() + 24);
  EXPECT_EQ(CrcBytes(figure5), Hex("52239983"));
}

TEST(Crc32cTest, PiecesGiveTheSameAsTheWhole) {
  const Bytes data = Counting(1000);
  for (size_t split : {0U, 1U, 3U, 500U, 999U, 1000U}) {
    Crc32c crc;
    crc.Add(data.data(), split);
    crc.Add(data.data() + split, data.size() - split);
    Bytes out(4);
    PutLe32(out.data(), crc.value());
    EXPECT_EQ(out, CrcBytes(data));
  }
}

FpduHeader Untagged(Opcode opcode, uint32_t msn, uint32_t invalidate = 0) {
  FpduHeader header;
  header.opcode = opcode;
  header.msn = msn;
  header.invalidate_stag = invalidate;
  return header;
}

FpduHeader Tagged(uint32_t stag, uint64_t offset, bool last = true) {
  FpduHeader header;
  header.tagged = true;
  header.last = last;
  header.opcode = Opcode::kWrite;
  header.stag = stag;
  header.offset = offset;
  return header;
}

struct Golden {
  const char* bytes;
  FpduHeader header;
  const char* payload;
  bool crc = true;
};

const Golden kGolden[] = {
    {golden::kSend, Untagged(Opcode::kSend, 1), "1122334455667788"},
    {golden::kWriteNoCrc, Tagged(0xa1b2c3d4, 0x7f1234567000),
     "000102030405060708090a0b0c0d0e0f", false},
    {golden::kWrite, Tagged(0xa1b2c3d4, 0x7f1234567000),
     "000102030405060708090a0b0c0d0e0f"},
    {golden::kImmediate, Untagged(Opcode::kImmediate, 2), "2000000500000000"},
    {golden::kImmediateSolicited, Untagged(Opcode::kImmediateSolicited, 3),
     "2000000500000000", false},
    {golden::kSendInvalidate, Untagged(Opcode::kSendInvalidate, 4, 0xa1b2c3d4),
     ""},
    {golden::kRtr, Tagged(0, 0), ""},
    {golden::kSendHello, Untagged(Opcode::kSend, 1), "68656c6c6f"},
    {golden::kPairedImmediate, Untagged(Opcode::kImmediate, 3),
     "2000000500000001"},
    {golden::kPairedSend, Untagged(Opcode::kSend, 4), "0400050078563412"},
    {golden::kWriteFirst, Tagged(0xa1b2c3d4, 0x1000, false),
     "0000000000000000"},
    {golden::kWriteLast, Tagged(0xa1b2c3d4, 0x1008), "010203"},
};

TEST(FpduTest, GoldenFramesAreEncoded) {
  for (const Golden& g : kGolden) {
    EXPECT_EQ(Fpdu(g.header, Hex(g.payload), g.crc), Hex(g.bytes)) << g.bytes;
  }
}

TEST(FpduTest, GoldenFramesAreDecoded) {
  for (const Golden& g : kGolden) {
    const Bytes bytes = Hex(g.bytes);
    Framing framing;
    ASSERT_EQ(ParseFraming(bytes.data(), &framing), std::nullopt) << g.bytes;
    EXPECT_EQ(framing.fpdu_size, bytes.size()) << g.bytes;
    FpduHeader header;
    ASSERT_EQ(DecodeFpduHeader(bytes.data(), &header), std::nullopt);
    EXPECT_EQ(header.tagged, g.header.tagged);
    EXPECT_EQ(header.last, g.header.last);
    EXPECT_EQ(header.opcode, g.header.opcode);
    EXPECT_EQ(header.payload, Hex(g.payload).size());
    EXPECT_EQ(header.stag, g.header.stag);
    EXPECT_EQ(header.offset, g.header.offset);
    EXPECT_EQ(header.invalidate_stag, g.header.invalidate_stag);
    EXPECT_EQ(header.queue_number, g.header.queue_number);
    EXPECT_EQ(header.msn, g.header.msn);
    EXPECT_EQ(header.message_offset, g.header.message_offset);
    EXPECT_EQ(header.size(), framing.header_size);
  }
}

TEST(FpduTest, LargestUlpduIsFramed) {
  Bytes bytes = Hex("fd00 c140");  // 64768
  Framing framing;
  EXPECT_EQ(ParseFraming(bytes.data(), &framing), std::nullopt);
  EXPECT_EQ(framing.fpdu_size, 64776U);
  bytes = Hex("fd01 c140");
  EXPECT_EQ(ParseFraming(bytes.data(), &framing), Refusal{kRdmapUnspecified});
}

struct GoldenTerminate {
  const char* bytes;
  TerminateCode code;
  const char* offender;  // whose header is in it
  size_t header_size;
};

const GoldenTerminate kTerminates[] = {
    {golden::kTerminateStag, kTaggedInvalidStag, golden::kWrite, 16},
    {golden::kTerminateNoBuffer, kUntaggedNoBuffer,
     "001a 4143 00000000 00000000 00000007 00000000", 20},
    {golden::kTerminateCrc, kMpaCrc, "", 0},
    {golden::kTerminateOpcode, kUnexpectedOpcode, golden::kImmediate, 20},
};

TEST(TerminateTest, GoldenFramesAreEncoded) {
  for (const GoldenTerminate& g : kTerminates) {
    Bytes offender = Hex(g.offender);
    offender.resize(g.header_size);
    EXPECT_EQ(TerminateFpdu(g.code, offender, true), Hex(g.bytes)) << g.bytes;
  }
}

TEST(TerminateTest, GoldenFramesAreParsed) {
  for (const GoldenTerminate& g : kTerminates) {
    const Bytes bytes = Hex(g.bytes);
    Bytes offender = Hex(g.offender);
    offender.resize(g.header_size);
    const Terminate parsed =
        ParseTerminate(absl::MakeSpan(bytes).subspan(20, bytes.size() - 24));
    EXPECT_EQ(parsed.code, g.code);
    EXPECT_EQ(parsed.offender, offender);
  }
}

TEST(TerminateTest, AnyTruncationIsParsed) {
  const Bytes bytes = Hex(golden::kTerminateNoBuffer);
  for (size_t length = 0; length <= 24; ++length) {
    const Terminate parsed =
        ParseTerminate(absl::MakeSpan(bytes).subspan(20, length));
    EXPECT_EQ(parsed.code, length < 4 ? kRdmapUnspecified : kUntaggedNoBuffer);
    EXPECT_EQ(parsed.offender.size(), length == 24 ? 20U : 0U);
  }
}

TEST(TerminateTest, NamesSayLayerTypeAndCode) {
  EXPECT_EQ(TerminateName(kMpaCrc), "2/0/02 CRC error");
  EXPECT_EQ(TerminateName({0x35, 0xab}), "3/5/ab unknown error");
}

TEST(MpaTest, GoldenFramesAreEncoded) {
  MpaFrame frame;
  frame.revision = 1;
  frame.user_data = Counting(56);
  EXPECT_EQ(EncodeMpaFrame(frame), Hex(golden::kRequestRev1) + Counting(56));
  frame.reply = true;
  frame.user_data = Counting(56, 0x80);
  EXPECT_EQ(EncodeMpaFrame(frame),
            Hex(golden::kReplyRev1) + Counting(56, 0x80));
  frame.user_data.clear();
  frame.rejected = true;
  EXPECT_EQ(EncodeMpaFrame(frame), Hex(golden::kReject));
  EXPECT_EQ(EncodeMpaFrame(RequestFrame(true, Counting(56))),
            Hex(golden::kRequest) + Counting(56));
}

TEST(MpaTest, GoldenFramesAreParsed) {
  MpaFrame frame;
  EXPECT_EQ(
      ParseMpaFrame(Hex(golden::kRequest) + Counting(56), false, &frame).result,
      MpaParse::Result::kDone);
  EXPECT_TRUE(frame.crc);
  EXPECT_FALSE(frame.markers);
  ASSERT_TRUE(frame.enhanced);
  EXPECT_TRUE(frame.enhanced->peer_to_peer);
  EXPECT_TRUE(frame.enhanced->rtr_write);
  EXPECT_FALSE(frame.enhanced->rtr_send);
  EXPECT_FALSE(frame.enhanced->rtr_read);
  ASSERT_TRUE(frame.capabilities);
  EXPECT_EQ(frame.capabilities->bits, 7);
  EXPECT_EQ(frame.capabilities->max_ulpdu, 64768);
  EXPECT_EQ(frame.user_data, Counting(56));

  EXPECT_EQ(
      ParseMpaFrame(Hex(golden::kRequestRev1) + Counting(56), false, &frame)
          .result,
      MpaParse::Result::kDone);
  EXPECT_EQ(frame.revision, 1);
  EXPECT_FALSE(frame.enhanced);
  EXPECT_FALSE(frame.capabilities);

  EXPECT_EQ(ParseMpaFrame(Hex(golden::kReject), true, &frame).result,
            MpaParse::Result::kDone);
  EXPECT_TRUE(frame.rejected);
}

TEST(MpaTest, EveryPrefixIsIncomplete) {
  const Bytes whole = Hex(golden::kRequest) + Counting(56);
  for (size_t length = 0; length < whole.size(); ++length) {
    MpaFrame frame;
    EXPECT_EQ(
        ParseMpaFrame(absl::MakeSpan(whole).subspan(0, length), false, &frame)
            .result,
        MpaParse::Result::kIncomplete)
        << length;
  }
}

TEST(MpaTest, MalformedFramesAreSeen) {
  const Bytes good = Hex(golden::kRequest) + Counting(56);
  const auto parse = [](const Bytes& bytes, bool reply) {
    MpaFrame frame;
    return ParseMpaFrame(bytes, reply, &frame).result;
  };
  EXPECT_EQ(parse(good, true), MpaParse::Result::kMalformed) << "both active";
  for (size_t i = 0; i < 16; ++i) {
    Bytes bad(good.begin(), good.begin() + static_cast<ssize_t>(i) + 1);
    bad[i] ^= 1;
    EXPECT_EQ(parse(bad, false), MpaParse::Result::kMalformed) << i;
  }
  for (uint8_t revision : {0, 3, 255}) {
    Bytes bad = good;
    bad[17] = revision;
    EXPECT_EQ(parse(bad, false), MpaParse::Result::kMalformed);
  }
  Bytes bad = good;
  PutBe16(&bad[18], 513);
  EXPECT_EQ(parse(bad, false), MpaParse::Result::kMalformed);
  PutBe16(&bad[18], 3);
  EXPECT_EQ(parse(bad, false), MpaParse::Result::kMalformed);
  for (uint16_t limit : {0, 127, 64769, 65535}) {
    bad = good;
    PutBe16(&bad[30], limit);
    EXPECT_EQ(parse(bad, false), MpaParse::Result::kRefused);
  }
}

TEST(MpaTest, EnhancedBitOfRevision1IsIgnored) {
  Bytes bytes = Hex(golden::kRequestRev1) + Counting(56);
  bytes[16] |= 0x10;
  MpaFrame frame;
  EXPECT_EQ(ParseMpaFrame(bytes, false, &frame).result,
            MpaParse::Result::kDone);
  EXPECT_FALSE(frame.enhanced);
  EXPECT_EQ(frame.user_data, Counting(56));
}

}  // namespace
}  // namespace rtrs::fabric::softiwarp
