// The header of a request in a chunk, and the response that brings a new rkey.
#include <errno.h>

#include <type_traits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/wire/coding.h"
#include "rtrs/wire/rtrs_messages.h"
#include "tests/wire/bytes.h"

namespace rtrs::wire {
namespace {

using ::testing::ElementsAreArray;

static_assert(RkeyResponse::kSize == 8);
static_assert(IoHeader::kWriteSize == 4);
static_assert(IoHeader::kReadSize == 8);
static_assert(IoHeader::kMaxSize == 24);
static_assert(std::is_trivially_copyable_v<IoHeader>);

TEST(RkeyResponseTest, BothWaysOfTheVector) {
  const std::vector<uint8_t> bytes = Bytes("04 00 05 00 57 34 12 00");
  const RkeyResponse v{5, 0x00123457};
  EXPECT_THAT(Encode(v), ElementsAreArray(bytes));
  EXPECT_EQ(DecodeRkeyResponse(bytes).value(), v);
}

TEST(RkeyResponseTest, RefusesShortAndOtherType) {
  std::vector<uint8_t> bytes = Bytes("04 00 05 00 57 34 12 00");
  EXPECT_FALSE(DecodeRkeyResponse(absl::MakeSpan(bytes.data(), 7)).ok());
  bytes[0] = 3;
  EXPECT_FALSE(DecodeRkeyResponse(bytes).ok());
}

std::vector<uint8_t> EncodeHeader(const IoHeader& v) {
  std::vector<uint8_t> out(IoHeader::kMaxSize, 0xee);
  out.resize(EncodeIoHeader(v, out.data()));
  return out;
}

IoHeader ReadHeader(bool need_inval) {
  return {
      RtrsType::kRead, 32, need_inval, true, {0x7f0000001000, 0x1234, 4096}};
}

TEST(IoHeaderTest, BothWaysOfTheWriteVector) {
  const IoHeader v{RtrsType::kWrite, 32, false, false, {}};
  EXPECT_THAT(EncodeHeader(v), ElementsAreArray(Bytes("02 00 20 00")));
  EXPECT_EQ(DecodeIoHeader(Bytes("02 00 20 00")).value(), v);
}

TEST(IoHeaderTest, BothWaysOfTheReadVector) {
  const std::vector<uint8_t> bytes = Bytes(
      "03 00 20 00 00 00 01 00 00 10 00 00 00 7F 00 00 34 12 00 00 "
      "00 10 00 00");
  EXPECT_THAT(EncodeHeader(ReadHeader(false)), ElementsAreArray(bytes));
  EXPECT_EQ(DecodeIoHeader(bytes).value(), ReadHeader(false));
}

TEST(IoHeaderTest, RoundTripWithNeedInval) {
  const std::vector<uint8_t> bytes = EncodeHeader(ReadHeader(true));
  EXPECT_EQ(bytes[4], 1);
  EXPECT_EQ(DecodeIoHeader(bytes).value(), ReadHeader(true));
}

TEST(IoHeaderTest, RoundTripOfReadWithoutDescriptor) {
  const IoHeader v{RtrsType::kRead, 32, false, false, {}};
  EXPECT_THAT(EncodeHeader(v), ElementsAreArray(Bytes("03 00 20 00", 8)));
  EXPECT_EQ(DecodeIoHeader(EncodeHeader(v)).value(), v);
}

TEST(IoHeaderTest, NeedInvalWithoutDescriptorIsIgnored) {
  EXPECT_FALSE(
      DecodeIoHeader(Bytes("03 00 20 00 01 00 00 00")).value().need_inval);
}

TEST(IoHeaderTest, TrailingBytesOfTheChunkDoNotMatter) {
  std::vector<uint8_t> bytes = EncodeHeader(ReadHeader(true));
  bytes.resize(4096, 0xff);
  EXPECT_EQ(DecodeIoHeader(bytes).value(), ReadHeader(true));
}

TEST(IoHeaderTest, RefusesMoreThanOneDescriptor) {
  for (const uint16_t sg_cnt : {2, 256, 65535}) {
    std::vector<uint8_t> bytes = EncodeHeader(ReadHeader(false));
    PutLe<uint16_t>(bytes.data() + 6, sg_cnt);
    bytes.resize(4096);
    EXPECT_EQ(ErrnoOf(DecodeIoHeader(bytes).status()), EINVAL) << sg_cnt;
  }
}

TEST(IoHeaderTest, RefusesOtherTypes) {
  for (const uint16_t type : {0, 1, 4, 5, 0x0200, 65535}) {
    std::vector<uint8_t> bytes(64);
    PutLe<uint16_t>(bytes.data(), type);
    EXPECT_EQ(ErrnoOf(DecodeIoHeader(bytes).status()), EINVAL) << type;
  }
}

TEST(IoHeaderTest, RefusesWhatTheEndOfTheChunkCuts) {
  const std::vector<uint8_t> read = EncodeHeader(ReadHeader(false));
  for (size_t n = 0; n < read.size(); ++n) {
    EXPECT_EQ(ErrnoOf(DecodeIoHeader(absl::MakeSpan(read.data(), n)).status()),
              EINVAL)
        << n;
  }
  const std::vector<uint8_t> write = Bytes("02 00 20 00");
  EXPECT_FALSE(DecodeIoHeader(absl::MakeSpan(write.data(), 3)).ok());
}

}  // namespace
}  // namespace rtrs::wire
