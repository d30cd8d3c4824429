// What the modules of Linux 6.1 sent to each other (tests/data/vectors):
// every field as expected, and the same bytes when encoded again. Where
// wire.md says that a kernel leaves bytes uninitialised they are masked.
#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rtrs/wire/rnbd_messages.h"
#include "rtrs/wire/rtrs_messages.h"
#include "tests/wire/vector_file.h"

namespace rtrs::wire {
namespace {

using ::rnbd::wire::AccessMode;
using ::rnbd::wire::Io;
using ::rnbd::wire::Op;
using ::rnbd::wire::OpenRsp;
using ::testing::ElementsAreArray;

// Offset and length of bytes that the sender did not initialise.
using Mask = std::initializer_list<std::pair<size_t, size_t>>;
constexpr size_t kPadding = 2;  // its offset in the header of RNBD messages

void ExpectSameBytes(absl::Span<const uint8_t> encoded,
                     absl::Span<const uint8_t> captured, Mask mask = {}) {
  std::vector<uint8_t> expected(captured.begin(), captured.end());
  ASSERT_EQ(encoded.size(), expected.size());
  for (const auto& [offset, length] : mask) {
    std::memset(expected.data() + offset, 0, length);
  }
  EXPECT_THAT(encoded, ElementsAreArray(expected));
}

// A request: user message, then RTRS message.
struct Request {
  std::vector<uint8_t> user;
  std::vector<uint8_t> rtrs;
};

Request ReadRequest(const std::string& name, size_t user_size) {
  const std::vector<uint8_t> bytes = ReadVector(name);
  if (bytes.size() < user_size) return {};
  const auto middle = bytes.begin() + static_cast<ptrdiff_t>(user_size);
  return {{bytes.begin(), middle}, {middle, bytes.end()}};
}

void ExpectHeader(const std::vector<uint8_t>& bytes, const IoHeader& expected) {
  const auto header = DecodeIoHeader(bytes);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(*header, expected);
  std::vector<uint8_t> encoded(IoHeader::kMaxSize);
  encoded.resize(EncodeIoHeader(*header, encoded.data()));
  ExpectSameBytes(encoded, bytes);
}

IoHeader WriteHeader(uint16_t usr_len) {
  return {RtrsType::kWrite, usr_len, false, false, {}};
}

IoHeader ReadHeader(uint16_t usr_len, const Descriptor& descriptor) {
  return {RtrsType::kRead, usr_len, true, true, descriptor};
}

void ExpectIo(const std::vector<uint8_t>& bytes, const Io& expected) {
  const auto io = rnbd::wire::DecodeIo(bytes);
  ASSERT_TRUE(io.ok()) << io.status();
  EXPECT_EQ(*io, expected);
  std::vector<uint8_t> encoded(Io::kSize);
  rnbd::wire::EncodeIo(*io, encoded.data());
  ExpectSameBytes(encoded, bytes, {{kPadding, 2}, {Io::kMinSize, 6}});
}

constexpr uint16_t kBestEffort4 = 0x4004;

constexpr Uuid kSessUuid = {0xab, 0x02, 0x07, 0xc6, 0x22, 0x14, 0x4a, 0x01,
                            0xab, 0x58, 0x92, 0xaf, 0x21, 0x35, 0xdc, 0x29};
constexpr Uuid kPathsUuid = {0x35, 0xf6, 0x15, 0x33, 0x84, 0x52, 0x4b, 0x7c,
                             0x90, 0x97, 0x8e, 0x2b, 0xf7, 0x95, 0x2d, 0x45};

void ExpectConnectRequest(const char* name, uint16_t cid) {
  const std::vector<uint8_t> bytes = ReadVector(name);
  const auto v = DecodeConnectRequest(bytes);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->cid, cid);
  EXPECT_EQ(v->cid_num, 2);
  EXPECT_EQ(v->recon_cnt, 1);
  EXPECT_EQ(v->sess_uuid, kSessUuid);
  EXPECT_EQ(v->paths_uuid, kPathsUuid);
  EXPECT_TRUE(v->first_conn);
  EXPECT_EQ(v->capabilities.bits, 0u);
  ExpectSameBytes(Encode(*v), bytes);
}

TEST(CapturedMessagesTest, ConnectRequestOfCid0) {
  ExpectConnectRequest("msg-conn-req-first.hex", 0);
}

TEST(CapturedMessagesTest, ConnectRequestOfCid1) {
  ExpectConnectRequest("msg-conn-req-second.hex", 1);
}

TEST(CapturedMessagesTest, ConnectResponse) {
  const std::vector<uint8_t> bytes = ReadVector("msg-conn-rsp.hex");
  const auto v = DecodeConnectResponse(bytes);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->error, 0);
  EXPECT_EQ(v->queue_depth, 512);
  EXPECT_EQ(v->max_io_size, kDefaultChunkSize - kMaxHeaderSize);
  EXPECT_EQ(v->max_hdr_size, kMaxHeaderSize);
  EXPECT_EQ(v->flags, ConnectResponse::kFlagNewRkey);
  EXPECT_EQ(v->capabilities.bits, 0u);
  ExpectSameBytes(Encode(*v), bytes);
}

TEST(CapturedMessagesTest, InfoRequest) {
  const std::vector<uint8_t> bytes = ReadVector("msg-info-req.hex");
  const auto v = DecodeInfoRequest(bytes);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->sessname, "cap1");
  ExpectSameBytes(Encode(*v), bytes);
}

TEST(CapturedMessagesTest, InfoResponseWithARegionPerChunk) {
  const std::vector<uint8_t> bytes = ReadVector("msg-info-rsp.hex");
  ASSERT_EQ(bytes.size(), 8200u);
  const auto v = DecodeInfoResponse(bytes, 512, kDefaultChunkSize);
  ASSERT_TRUE(v.ok()) << v.status();
  ASSERT_EQ(v->descriptors.size(), 512u);
  EXPECT_EQ(v->descriptors[0],
            (Descriptor{0xff11000006700000, 0x3e7, kDefaultChunkSize}));
  EXPECT_EQ(v->descriptors[1],
            (Descriptor{0xff11000006720000, 0x4e4, kDefaultChunkSize}));
  ExpectSameBytes(Encode(*v), bytes);
}

TEST(CapturedMessagesTest, InfoResponseWithOneRegion) {
  const std::vector<uint8_t> bytes = ReadVector("msg-info-rsp-noinv.hex");
  const auto v = DecodeInfoResponse(bytes, 512, kDefaultChunkSize);
  ASSERT_TRUE(v.ok()) << v.status();
  ASSERT_EQ(v->descriptors.size(), 1u);
  EXPECT_EQ(v->descriptors[0],
            (Descriptor{0xff11000006700000, 0x309, 512 * kDefaultChunkSize}));
  ExpectSameBytes(Encode(*v), bytes);
}

TEST(CapturedMessagesTest, RkeyResponse) {
  const std::vector<uint8_t> bytes = ReadVector("msg-rkey-rsp.hex");
  const auto v = DecodeRkeyResponse(bytes);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(*v, (RkeyResponse{0, 0x3ea}));
  ExpectSameBytes(Encode(*v), bytes);
}

TEST(CapturedMessagesTest, SessInfo) {
  const Request request =
      ReadRequest("msg-sess-info.hex", rnbd::wire::SessInfo::kSize);
  const auto v = rnbd::wire::DecodeSessInfo(request.user);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->version, 2);
  ExpectSameBytes(rnbd::wire::EncodeSessInfo(*v), request.user,
                  {{kPadding, 2}, {5, 31}});
  ExpectHeader(request.rtrs, ReadHeader(36, {0xff110000077c3500, 0x397, 36}));
}

TEST(CapturedMessagesTest, SessInfoResponse) {
  const std::vector<uint8_t> bytes = ReadVector("msg-sess-info-rsp.hex");
  const auto v = rnbd::wire::DecodeSessInfoRsp(bytes);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->version, 2);
  ExpectSameBytes(rnbd::wire::EncodeSessInfoRsp(*v), bytes);
}

TEST(CapturedMessagesTest, Open) {
  const Request request = ReadRequest("msg-open.hex", rnbd::wire::Open::kSize);
  const auto v = rnbd::wire::DecodeOpen(request.user);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->access_mode, AccessMode::kRw);
  EXPECT_EQ(v->device_name, "/dev/ram0");
  // Behind the name's NUL everything is undefined.
  ExpectSameBytes(rnbd::wire::Encode(*v), request.user,
                  {{kPadding, 2}, {5, 1}, {16, 248}});
  ExpectHeader(request.rtrs, ReadHeader(264, {0xff110000077c3300, 0x398, 56}));
}

TEST(CapturedMessagesTest, OpenResponseOfARamDisk) {
  const std::vector<uint8_t> bytes = ReadVector("msg-open-rsp.hex");
  const auto v = rnbd::wire::DecodeOpenRsp(bytes);
  ASSERT_TRUE(v.ok()) << v.status();
  OpenRsp expected;
  expected.nsectors = (16 << 20) / rnbd::wire::kSectorSize;
  expected.max_hw_sectors = 255;
  expected.physical_block_size = 4096;
  expected.logical_block_size = 512;
  expected.max_segments = 128;
  EXPECT_EQ(*v, expected);
  ExpectSameBytes(rnbd::wire::Encode(*v), bytes);
}

TEST(CapturedMessagesTest, OpenResponseOfAWriteBackDevice) {
  const std::vector<uint8_t> bytes = ReadVector("msg-open-rsp-wb.hex");
  const auto v = rnbd::wire::DecodeOpenRsp(bytes);
  ASSERT_TRUE(v.ok()) << v.status();
  OpenRsp expected;
  expected.nsectors = (64 << 20) / rnbd::wire::kSectorSize;
  expected.max_hw_sectors = 248;
  expected.max_discard_sectors = 0x7fffff;
  expected.discard_granularity = 4096;
  expected.physical_block_size = 4096;
  expected.logical_block_size = 4096;
  expected.max_segments = 128;
  expected.cache_policy = OpenRsp::kFua | OpenRsp::kWriteBack;
  EXPECT_EQ(*v, expected);
  ExpectSameBytes(rnbd::wire::Encode(*v), bytes);
}

TEST(CapturedMessagesTest, Write) {
  const Request request = ReadRequest("msg-write4k-headers.hex", Io::kSize);
  ExpectIo(request.user, {0, 16, Op::kWrite, Io::kSync, 4096, kBestEffort4});
  ExpectHeader(request.rtrs, WriteHeader(32));
}

TEST(CapturedMessagesTest, WriteWithFua) {
  const Request request = ReadRequest("msg-fua4k-headers.hex", Io::kSize);
  ExpectIo(request.user,
           {0, 16, Op::kWrite, Io::kSync | Io::kFua, 4096, kBestEffort4});
  ExpectHeader(request.rtrs, WriteHeader(32));
}

TEST(CapturedMessagesTest, Read) {
  const Request request = ReadRequest("msg-read4k.hex", Io::kSize);
  ExpectIo(request.user, {0, 16, Op::kRead, Io::kSync, 4096, kBestEffort4});
  ExpectHeader(request.rtrs, ReadHeader(32, {0xff11000006926000, 0x39a, 4096}));
}

TEST(CapturedMessagesTest, FlushIsAReadWithoutDescriptor) {
  const Request request = ReadRequest("msg-flush.hex", Io::kSize);
  ExpectIo(request.user,
           {0, UINT64_MAX, Op::kFlush, Io::kSync | Io::kFua, 0, 0});
  ExpectHeader(request.rtrs, {RtrsType::kRead, 32, false, false, {}});
}

TEST(CapturedMessagesTest, DiscardIsAWriteWithoutData) {
  const Request request = ReadRequest("msg-discard.hex", Io::kSize);
  ExpectIo(request.user, {0, 16, Op::kDiscard, Io::kSync, 4096, kBestEffort4});
  ExpectHeader(request.rtrs, WriteHeader(32));
}

TEST(CapturedMessagesTest, Close) {
  const Request request =
      ReadRequest("msg-close.hex", rnbd::wire::Close::kSize);
  const auto v = rnbd::wire::DecodeClose(request.user);
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->device_id, 0u);
  ExpectSameBytes(rnbd::wire::Encode(*v), request.user, {{kPadding, 2}});
  ExpectHeader(request.rtrs, WriteHeader(8));
}

}  // namespace
}  // namespace rtrs::wire
