#include "rtrs/wire/rtrs_messages.h"

#include <errno.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/wire/coding.h"
#include "tests/wire/bytes.h"

namespace rtrs::wire {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

static_assert(sizeof(Uuid) == 16);
static_assert(ConnectRequest::kSize == 56);
static_assert(ConnectResponse::kSize == 56);
static_assert(InfoRequest::kSize == 272);
static_assert(InfoResponse::kHeaderSize == 8);
static_assert(Descriptor::kSize == 16);

ConnectRequest SampleRequest() {
  ConnectRequest v;
  v.cid = 0;
  v.cid_num = 3;
  v.recon_cnt = 1;
  v.first_conn = true;
  for (size_t i = 0; i < v.sess_uuid.size(); ++i) {
    v.sess_uuid[i] = static_cast<uint8_t>(i * 0x11);
    v.paths_uuid[i] = static_cast<uint8_t>(0xff - i * 0x11);
  }
  return v;
}

constexpr char kSampleRequest[] =
    "00 00 BD 1B 00 02 00 00 03 00 01 00 "
    "00 11 22 33 44 55 66 77 88 99 AA BB CC DD EE FF "
    "FF EE DD CC BB AA 99 88 77 66 55 44 33 22 11 00 "
    "01 00 00 00 00 00 00 00 00 00 00 00";

TEST(ConnectRequestTest, EncodesTheVector) {
  EXPECT_THAT(Encode(SampleRequest()), ElementsAreArray(Bytes(kSampleRequest)));
}

TEST(ConnectRequestTest, DecodesTheVector) {
  const auto v = DecodeConnectRequest(Bytes(kSampleRequest));
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(*v, SampleRequest());
}

TEST(ConnectRequestTest, RoundTripWithCapabilities) {
  ConnectRequest v = SampleRequest();
  v.cid = 4095;
  v.cid_num = 4096;
  v.recon_cnt = 65535;
  v.first_conn = false;
  v.capabilities.bits = Capabilities::kFence | Capabilities::kWriteVerifier;
  const auto bytes = Encode(v);
  EXPECT_EQ(bytes[45], 'R');  // right behind first_conn
  const auto decoded = DecodeConnectRequest(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, v);
}

TEST(ConnectRequestTest, IgnoresWhatFollowsAndReservedBits) {
  std::vector<uint8_t> bytes = Bytes(kSampleRequest, 92);  // AF_IB area
  bytes[44] = 0xfe;  // first_conn clear, reserved bits set
  bytes[60] = 0xaa;
  const auto v = DecodeConnectRequest(bytes);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_FALSE(v->first_conn);
}

TEST(ConnectRequestTest, AcceptsAnotherMinorVersion) {
  std::vector<uint8_t> bytes = Bytes(kSampleRequest);
  bytes[4] = 7;
  EXPECT_TRUE(DecodeConnectRequest(bytes).ok());
}

struct BadByte {
  const char* what;
  size_t offset;
  uint16_t value;  // LE16
};

class BadConnectRequestTest : public testing::TestWithParam<BadByte> {};

TEST_P(BadConnectRequestTest, IsRefusedWithEconnreset) {
  std::vector<uint8_t> bytes = Bytes(kSampleRequest);
  PutLe<uint16_t>(bytes.data() + GetParam().offset, GetParam().value);
  EXPECT_EQ(ErrnoOf(DecodeConnectRequest(bytes).status()), ECONNRESET);
}

INSTANTIATE_TEST_SUITE_P(
    Section1_5, BadConnectRequestTest,
    testing::Values(
        BadByte{"magic", 2, 0x1bbe}, BadByte{"magic in big endian", 2, 0xbd1b},
        BadByte{"major 1", 4, 0x0100}, BadByte{"major 3", 4, 0x0300},
        BadByte{"cid_num above 4096", 8, 4097}, BadByte{"cid_num 0", 8, 0},
        BadByte{"cid equal to cid_num", 6, 3},
        BadByte{"cid above cid_num", 6, 65535}),
    [](const auto& test) {
      return absl::StrReplaceAll(test.param.what, {{" ", "_"}});
    });

TEST(ConnectRequestTest, EveryShorterLengthIsRefused) {
  const std::vector<uint8_t> bytes = Bytes(kSampleRequest);
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_EQ(
        ErrnoOf(DecodeConnectRequest(absl::MakeSpan(bytes.data(), n)).status()),
        ECONNRESET)
        << n;
  }
}

ConnectResponse SampleResponse() {
  ConnectResponse v;
  v.queue_depth = 512;
  v.max_io_size = 126976;
  v.max_hdr_size = 4096;
  v.flags = ConnectResponse::kFlagNewRkey;
  return v;
}

constexpr char kSampleResponse[] =
    "BD 1B 00 02 00 00 00 02 00 F0 01 00 00 10 00 00 02 00 00 00";

TEST(ConnectResponseTest, EncodesTheVector) {
  EXPECT_THAT(Encode(SampleResponse()),
              ElementsAreArray(Bytes(kSampleResponse, 56)));
}

TEST(ConnectResponseTest, DecodesTheVectorInItsPrivateDataArea) {
  const auto v = DecodeConnectResponse(Bytes(kSampleResponse, 196));
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(*v, SampleResponse());
}

TEST(ConnectResponseTest, RejectionsCarryNegativeErrno) {
  const std::pair<int, const char*> vectors[] = {{EEXIST, "EF FF"},
                                                 {ENXIO, "FA FF"},
                                                 {ECONNRESET, "98 FF"},
                                                 {ENOMEM, "F4 FF"}};
  for (const auto& [error, hex] : vectors) {
    ConnectResponse v;
    v.error = error;
    const std::vector<uint8_t> bytes =
        Bytes(absl::StrCat("BD 1B 00 02 ", hex), 56);
    EXPECT_THAT(Encode(v), ElementsAreArray(bytes));
    const auto decoded = DecodeConnectResponse(bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(decoded->error, error);
  }
}

TEST(ConnectResponseTest, PositiveErrnoIsAnErrorToo) {
  const auto v = DecodeConnectResponse(Bytes("BD 1B 00 02 05 00", 56));
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->error, 5);
}

TEST(ConnectResponseTest, RoundTripWithCapabilities) {
  ConnectResponse v = SampleResponse();
  v.queue_depth = 65535;
  v.flags = 0;
  v.capabilities.bits = Capabilities::kFence;
  const auto bytes = Encode(v);
  EXPECT_EQ(bytes[20], 'R');
  const auto decoded = DecodeConnectResponse(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, v);
}

TEST(ConnectResponseTest, RefusesShortForeignAndOtherMajor) {
  std::vector<uint8_t> bytes = Bytes(kSampleResponse, 56);
  EXPECT_EQ(
      ErrnoOf(DecodeConnectResponse(absl::MakeSpan(bytes.data(), 55)).status()),
      ECONNRESET);
  bytes[0] = 0;
  EXPECT_EQ(ErrnoOf(DecodeConnectResponse(bytes).status()), ECONNRESET);
  bytes = Bytes(kSampleResponse, 56);
  bytes[3] = 1;
  EXPECT_EQ(ErrnoOf(DecodeConnectResponse(bytes).status()), ECONNRESET);
}

TEST(InfoRequestTest, EncodesTheVector) {
  EXPECT_THAT(Encode(InfoRequest{"clt"}),
              ElementsAreArray(Bytes("00 00 63 6C 74", 272)));
}

TEST(InfoRequestTest, RoundTripOfTheLongestName) {
  const InfoRequest v{std::string(kMaxNameLength, 'x')};
  const auto decoded = DecodeInfoRequest(Encode(v));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(*decoded, v);
}

TEST(InfoRequestTest, IgnoresBytesBehindTheNul) {
  auto bytes = Encode(InfoRequest{"clt"});
  bytes[6] = '/';
  bytes[271] = 1;
  EXPECT_EQ(DecodeInfoRequest(bytes).value().sessname, "clt");
}

TEST(InfoRequestTest, RefusesNameWithoutNul) {
  auto bytes = Encode(InfoRequest{"clt"});
  std::fill_n(bytes.begin() + 2, 255, 'x');
  EXPECT_EQ(ErrnoOf(DecodeInfoRequest(bytes).status()), EINVAL);
}

TEST(InfoRequestTest, RefusesEmptyNameSlashAndDot) {
  for (const char* name : {"", "a/b", "/", "host.example", "..", "a."}) {
    auto bytes = Encode(InfoRequest{"x"});
    std::fill_n(bytes.begin() + 2, 255, 0);
    std::copy_n(name, strlen(name), bytes.begin() + 2);
    EXPECT_EQ(ErrnoOf(DecodeInfoRequest(bytes).status()), EINVAL) << name;
  }
}

TEST(InfoRequestTest, RefusesShortAndOtherType) {
  auto bytes = Encode(InfoRequest{"clt"});
  EXPECT_EQ(
      ErrnoOf(DecodeInfoRequest(absl::MakeSpan(bytes.data(), 271)).status()),
      EINVAL);
  bytes[0] = 1;
  EXPECT_EQ(ErrnoOf(DecodeInfoRequest(bytes).status()), EINVAL);
}

TEST(CheckSessionNameTest, TakesOneTo254Bytes) {
  EXPECT_TRUE(CheckSessionName("a").ok());
  EXPECT_TRUE(CheckSessionName(std::string(254, 'a')).ok());
  EXPECT_EQ(ErrnoOf(CheckSessionName(std::string(255, 'a'))), EINVAL);
  EXPECT_EQ(ErrnoOf(CheckSessionName(std::string(4096, 'a'))), EINVAL);
  EXPECT_EQ(ErrnoOf(CheckSessionName("")), EINVAL);
}

TEST(CheckSessionNameTest, ErrorNamesTheName) {
  EXPECT_THAT(std::string(CheckSessionName("host.example").message()),
              HasSubstr("host.example"));
}

TEST(CheckSessionNameTest, RefusesEmbeddedNul) {
  EXPECT_EQ(ErrnoOf(CheckSessionName(absl::string_view("a\0b", 3))), EINVAL);
}

constexpr uint32_t kDepth = 4;
constexpr uint32_t kChunk = 8192;

InfoResponse OneRegionPerChunk() {
  InfoResponse v;
  for (uint32_t i = 0; i < kDepth; ++i) {
    v.descriptors.push_back({0x1000 + uint64_t{i} * 0x100000, 7 + i, kChunk});
  }
  return v;
}

TEST(InfoResponseTest, RoundTripOfOneRegionPerChunk) {
  const auto v =
      DecodeInfoResponse(Encode(OneRegionPerChunk()), kDepth, kChunk);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(*v, OneRegionPerChunk());
}

TEST(InfoResponseTest, RoundTripOfOneRegionForAll) {
  const InfoResponse v{{{0xffff880000000000, 0xfe, kDepth * kChunk}}};
  const std::vector<uint8_t> bytes = Encode(v);
  EXPECT_THAT(bytes, ElementsAreArray(Bytes("01 00 01 00 00 00 00 00 "
                                            "00 00 00 00 00 88 ff ff "
                                            "fe 00 00 00 00 80 00 00")));
  EXPECT_EQ(DecodeInfoResponse(bytes, kDepth, kChunk).value(), v);
}

TEST(InfoResponseTest, RegionsMayDifferInSize) {
  const InfoResponse v{{{0, 1, kChunk}, {0, 2, 3 * kChunk}}};
  EXPECT_TRUE(DecodeInfoResponse(Encode(v), kDepth, kChunk).ok());
}

TEST(InfoResponseTest, RefusesWrongType) {
  std::vector<uint8_t> bytes = Encode(OneRegionPerChunk());
  bytes[0] = 0;
  EXPECT_EQ(ErrnoOf(DecodeInfoResponse(bytes, kDepth, kChunk).status()),
            EINVAL);
}

TEST(InfoResponseTest, EveryShorterLengthIsRefused) {
  const std::vector<uint8_t> bytes = Encode(OneRegionPerChunk());
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(
        DecodeInfoResponse(absl::MakeSpan(bytes.data(), n), kDepth, kChunk)
            .ok())
        << n;
  }
}

// Each breaks one rule of §2.3.
struct BadInfoResponse {
  const char* name;
  InfoResponse message;
};

class BadInfoResponseTest : public testing::TestWithParam<BadInfoResponse> {};

TEST_P(BadInfoResponseTest, IsRefused) {
  EXPECT_EQ(
      ErrnoOf(DecodeInfoResponse(Encode(GetParam().message), kDepth, kChunk)
                  .status()),
      EINVAL);
}

INSTANTIATE_TEST_SUITE_P(
    Section2_3, BadInfoResponseTest,
    testing::Values(
        BadInfoResponse{"NoDescriptor", {}},
        BadInfoResponse{"CountDoesNotDivideDepth",
                        {{{0, 1, kChunk}, {0, 2, kChunk}, {0, 3, 2 * kChunk}}}},
        BadInfoResponse{"MoreDescriptorsThanChunks",
                        {std::vector<Descriptor>(8, {0, 1, kChunk})}},
        BadInfoResponse{"LengthZero", {{{0, 1, 0}, {0, 2, 4 * kChunk}}}},
        BadInfoResponse{"LengthNotAMultiple", {{{0, 1, 4 * kChunk + 1}}}},
        BadInfoResponse{"TooFewChunks", {{{0, 1, 3 * kChunk}}}},
        BadInfoResponse{"TooManyChunks", {{{0, 1, 5 * kChunk}}}},
        BadInfoResponse{"AddressWraps",
                        {{{UINT64_MAX - kChunk, 1, 4 * kChunk}}}}),
    [](const auto& test) { return test.param.name; });

TEST(InfoResponseTest, RefusesMoreIdBitsThanTheImmediateHas) {
  // 15 bits of ids and 16 of offset do not fit in 28.
  InfoResponse v;
  v.descriptors.assign(32768, {0, 1, 65536});
  EXPECT_EQ(ErrnoOf(DecodeInfoResponse(Encode(v), 32768, 65536).status()),
            EINVAL);
}

TEST(InfoResponseTest, RefusesChunkSizeZero) {
  EXPECT_FALSE(DecodeInfoResponse(Encode(OneRegionPerChunk()), kDepth, 0).ok());
}

}  // namespace
}  // namespace rtrs::wire
