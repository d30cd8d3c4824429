#include "rtrs/wire/rnbd_messages.h"

#include <errno.h>

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/wire/coding.h"
#include "tests/wire/bytes.h"

namespace rnbd::wire {
namespace {

using ::rtrs::ErrnoOf;
using ::rtrs::wire::Bytes;
using ::testing::Each;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

static_assert(SessInfo::kSize == 36);
static_assert(Open::kSize == 264);
static_assert(OpenRsp::kSize == 56);
static_assert(Io::kSize == 32);
static_assert(Io::kMinSize == 26);
static_assert(Close::kSize == 8);
static_assert(std::is_trivially_copyable_v<Io>);

TEST(DecodeTypeTest, NamesEveryKnownType) {
  for (uint8_t type = 0; type <= 5; ++type) {
    const auto v = DecodeType(std::vector<uint8_t>{type, 0, 0xaa, 0xbb});
    ASSERT_TRUE(v.ok()) << v.status();
    EXPECT_EQ(static_cast<int>(*v), type);
  }
}

TEST(DecodeTypeTest, RefusesUnknownAndShort) {
  EXPECT_EQ(ErrnoOf(DecodeType(Bytes("06 00 00 00")).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(DecodeType(Bytes("04 01 00 00")).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(DecodeType(Bytes("04 00 00")).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(DecodeType({}).status()), EINVAL);
}

TEST(SessInfoTest, BothWaysOfTheVector) {
  const std::vector<uint8_t> bytes = Bytes("00 00 00 00 02", 36);
  EXPECT_THAT(EncodeSessInfo({2}), ElementsAreArray(bytes));
  EXPECT_EQ(DecodeSessInfo(bytes).value(), SessInfo{2});
}

TEST(SessInfoTest, RoundTripOfTheResponse) {
  const auto bytes = EncodeSessInfoRsp({1});
  EXPECT_THAT(bytes, ElementsAreArray(Bytes("01 00 00 00 01", 36)));
  EXPECT_EQ(DecodeSessInfoRsp(bytes).value(), SessInfo{1});
}

TEST(SessInfoTest, IgnoresGarbageInPaddingAndReserved) {
  std::vector<uint8_t> bytes(36, 0xcd);
  bytes[0] = bytes[1] = 0;
  bytes[4] = 2;
  EXPECT_EQ(DecodeSessInfo(bytes).value().version, 2);
}

TEST(SessInfoTest, RequestAndResponseAreNotMistaken) {
  EXPECT_FALSE(DecodeSessInfo(EncodeSessInfoRsp({2})).ok());
  EXPECT_FALSE(DecodeSessInfoRsp(EncodeSessInfo({2})).ok());
}

TEST(SessInfoTest, RefusesShort) {
  const auto bytes = EncodeSessInfo({2});
  EXPECT_EQ(ErrnoOf(DecodeSessInfo(absl::MakeSpan(bytes.data(), 35)).status()),
            EINVAL);
  const auto response = EncodeSessInfoRsp({2});
  EXPECT_FALSE(DecodeSessInfoRsp(absl::MakeSpan(response.data(), 35)).ok());
}

TEST(AccessModeTest, NamesBothWays) {
  for (const AccessMode mode :
       {AccessMode::kRo, AccessMode::kRw, AccessMode::kMigration}) {
    EXPECT_EQ(ParseAccessMode(AccessModeName(mode)).value(), mode);
  }
  EXPECT_STREQ(AccessModeName(AccessMode::kMigration), "migration");
}

TEST(AccessModeTest, ErrorNamesTheText) {
  const auto v = ParseAccessMode("RW");
  EXPECT_EQ(ErrnoOf(v.status()), EINVAL);
  EXPECT_THAT(std::string(v.status().message()), HasSubstr("\"RW\""));
}

TEST(OpenTest, EncodesEveryByte) {
  std::vector<uint8_t> expected = Bytes("02 00 00 00 02 00", 264);
  const std::string name = "ram0";
  std::copy(name.begin(), name.end(), expected.begin() + 6);
  EXPECT_THAT(Encode(Open{AccessMode::kMigration, name}),
              ElementsAreArray(expected));
}

TEST(OpenTest, RoundTripOfTheLongestName) {
  const Open v{AccessMode::kRo, std::string(254, 'd')};
  const auto decoded = DecodeOpen(Encode(v));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, v);
}

TEST(OpenTest, IgnoresGarbageBehindTheNulAndInReserved) {
  std::vector<uint8_t> bytes(264, 0xcd);
  const std::vector<uint8_t> head = Bytes("02 00 aa aa 01 bb 61 00");
  std::copy(head.begin(), head.end(), bytes.begin());
  EXPECT_EQ(DecodeOpen(bytes).value(), (Open{AccessMode::kRw, "a"}));
}

TEST(OpenTest, RefusesNameWithoutNul) {
  auto bytes = Encode(Open{AccessMode::kRw, "a"});
  std::fill(bytes.begin() + 6, bytes.end(), 'x');
  EXPECT_EQ(ErrnoOf(DecodeOpen(bytes).status()), EINVAL);
}

TEST(OpenTest, NulRightBehindTheFieldDoesNotCount) {
  auto bytes = Encode(Open{AccessMode::kRw, "a"});
  std::fill_n(bytes.begin() + 6, 255, 'x');
  bytes[261] = 0;
  EXPECT_EQ(ErrnoOf(DecodeOpen(bytes).status()), EINVAL);
}

TEST(OpenTest, RefusesEmptyName) {
  auto bytes = Encode(Open{AccessMode::kRw, "a"});
  bytes[6] = 0;
  EXPECT_EQ(ErrnoOf(DecodeOpen(bytes).status()), EINVAL);
}

TEST(OpenTest, RefusesUnknownAccessMode) {
  for (const uint8_t mode : {3, 255}) {
    auto bytes = Encode(Open{AccessMode::kRw, "a"});
    bytes[4] = mode;
    EXPECT_EQ(ErrnoOf(DecodeOpen(bytes).status()), EINVAL);
  }
}

TEST(OpenTest, EveryShorterLengthIsRefused) {
  const auto bytes = Encode(Open{AccessMode::kRw, "a"});
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(DecodeOpen(absl::MakeSpan(bytes.data(), n)).ok()) << n;
  }
}

OpenRsp SampleOpenRsp() {
  OpenRsp v;
  v.device_id = 0x01020304;
  v.nsectors = 0x1112131415161718;
  v.max_hw_sectors = 0x21222324;
  v.max_write_zeroes_sectors = 0x31323334;
  v.max_discard_sectors = 0x41424344;
  v.discard_granularity = 0x51525354;
  v.discard_alignment = 0x61626364;
  v.physical_block_size = 0x7172;
  v.logical_block_size = 0x7374;
  v.max_segments = 0x7576;
  v.secure_discard = 0x7778;
  v.rotational = true;
  v.cache_policy = OpenRsp::kFua | OpenRsp::kWriteBack;
  v.write_verifier = 0x8182838485868788;
  return v;
}

TEST(OpenRspTest, EveryFieldAtItsOffset) {
  EXPECT_THAT(Encode(SampleOpenRsp()),
              ElementsAreArray(Bytes("03 00 00 00 04 03 02 01 "
                                     "18 17 16 15 14 13 12 11 "
                                     "24 23 22 21 34 33 32 31 "
                                     "44 43 42 41 54 53 52 51 "
                                     "64 63 62 61 72 71 74 73 "
                                     "76 75 78 77 01 03 88 87 "
                                     "86 85 84 83 82 81 00 00")));
}

TEST(OpenRspTest, RoundTrip) {
  EXPECT_EQ(DecodeOpenRsp(Encode(SampleOpenRsp())).value(), SampleOpenRsp());
}

TEST(OpenRspTest, DefaultIsZeroBehindTheType) {
  const auto bytes = Encode(OpenRsp{});
  EXPECT_THAT(absl::MakeSpan(bytes).subspan(1), Each(0));
}

TEST(OpenRspTest, RefusesShortAndOtherType) {
  auto bytes = Encode(SampleOpenRsp());
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(DecodeOpenRsp(absl::MakeSpan(bytes.data(), n)).ok()) << n;
  }
  bytes[0] = 2;
  EXPECT_EQ(ErrnoOf(DecodeOpenRsp(bytes).status()), EINVAL);
}

constexpr char kWriteVector[] =
    "04 00 00 00 00 00 00 00 00 08 00 00 00 00 00 00 01 01 00 00 00 10 00 00 "
    "00 00";

std::vector<uint8_t> EncodeIo(const Io& v) {
  std::vector<uint8_t> out(Io::kSize, 0xee);
  EncodeIo(v, out.data());
  return out;
}

TEST(IoTest, BothWaysOfTheVector) {
  const Io v{0, 2048, Op::kWrite, Io::kSync, 4096, 0};
  EXPECT_THAT(EncodeIo(v), ElementsAreArray(Bytes(kWriteVector, 32)));
  EXPECT_EQ(DecodeIo(Bytes(kWriteVector, 32)).value(), v);
}

TEST(IoTest, RoundTripOfEveryOperationAndFlag) {
  for (uint8_t op = 0; op <= 5; ++op) {
    for (const uint32_t flags :
         {0u, Io::kSync, Io::kFua, Io::kPreflush, Io::kNoUnmap,
          Io::kSync | Io::kFua | Io::kPreflush | Io::kNoUnmap}) {
      const Io v{0xfffffffe, UINT64_MAX, static_cast<Op>(op),
                 flags,      UINT32_MAX, 0x4004};
      EXPECT_EQ(DecodeIo(EncodeIo(v)).value(), v);
    }
  }
}

TEST(IoTest, TypicalValuesOfKernelClients) {
  const std::tuple<uint32_t, Op, uint32_t> vectors[] = {
      {0x100, Op::kRead, Io::kSync},
      {0x301, Op::kWrite, Io::kSync | Io::kFua},
      {0x302, Op::kFlush, Io::kSync | Io::kFua},
      {0x702, Op::kFlush, Io::kSync | Io::kFua | Io::kPreflush},
      {0x103, Op::kDiscard, Io::kSync},
      {0x805, Op::kWriteZeroes, Io::kNoUnmap}};
  for (const auto& [rw, op, flags] : vectors) {
    std::vector<uint8_t> bytes = Bytes(kWriteVector, 32);
    rtrs::wire::PutLe<uint32_t>(bytes.data() + 16, rw);
    const Io v = DecodeIo(bytes).value();
    EXPECT_EQ(v.op, op);
    EXPECT_EQ(v.flags, flags);
  }
}

TEST(IoTest, UnknownFlagBitsAreIgnored) {
  std::vector<uint8_t> bytes = Bytes(kWriteVector, 32);
  rtrs::wire::PutLe<uint32_t>(bytes.data() + 16, 0xfffff101);
  const Io v = DecodeIo(bytes).value();
  EXPECT_EQ(v.op, Op::kWrite);
  EXPECT_EQ(v.flags, Io::kSync);
}

TEST(IoTest, UnknownOperationIsRefusedInsteadOfRead) {
  for (const uint8_t op : {6, 7, 128, 255}) {
    std::vector<uint8_t> bytes = Bytes(kWriteVector, 32);
    bytes[16] = op;
    EXPECT_EQ(ErrnoOf(DecodeIo(bytes).status()), EOPNOTSUPP) << int{op};
  }
}

TEST(IoTest, PriorityOnlyFromAFullMessage) {
  std::vector<uint8_t> bytes = Bytes(kWriteVector, 32);
  rtrs::wire::PutLe<uint16_t>(bytes.data() + 24, 0x4004);
  EXPECT_EQ(DecodeIo(bytes).value().priority, 0x4004);
  for (const size_t size : {26, 28, 31}) {
    EXPECT_EQ(DecodeIo(absl::MakeSpan(bytes.data(), size)).value().priority, 0)
        << size;
  }
}

TEST(IoTest, EveryLengthBelowTheMeaningfulBytesIsRefused) {
  const std::vector<uint8_t> bytes = Bytes(kWriteVector, 32);
  for (size_t n = 0; n < Io::kMinSize; ++n) {
    EXPECT_EQ(ErrnoOf(DecodeIo(absl::MakeSpan(bytes.data(), n)).status()),
              EINVAL)
        << n;
  }
}

TEST(IoTest, RefusesOtherType) {
  std::vector<uint8_t> bytes = Bytes(kWriteVector, 32);
  bytes[0] = 5;
  EXPECT_EQ(ErrnoOf(DecodeIo(bytes).status()), EINVAL);
}

TEST(CloseTest, BothWaysOfTheVector) {
  const std::vector<uint8_t> bytes = Bytes("05 00 00 00 03 00 00 00");
  EXPECT_THAT(Encode(Close{3}), ElementsAreArray(bytes));
  EXPECT_EQ(DecodeClose(bytes).value(), Close{3});
}

TEST(CloseTest, RefusesShortAndOtherType) {
  std::vector<uint8_t> bytes = Bytes("05 00 00 00 03 00 00 00");
  EXPECT_EQ(ErrnoOf(DecodeClose(absl::MakeSpan(bytes.data(), 7)).status()),
            EINVAL);
  bytes[0] = 4;
  EXPECT_EQ(ErrnoOf(DecodeClose(bytes).status()), EINVAL);
}

}  // namespace
}  // namespace rnbd::wire
