#include "rtrs/wire/immediate.h"

#include <errno.h>

#include "gtest/gtest.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::wire {
namespace {

static_assert(MemBits(1) == 28);
static_assert(MemBits(2) == 27);
static_assert(MemBits(kMaxQueueDepth) == 12);

struct QueueDepthVector {
  uint32_t queue_depth;
  int mem_bits;
  uint32_t buf_id;
  uint32_t request;  // with offset 0x1020
  uint32_t response;
};

// The table of wire.md §10.
class QueueDepthTest : public testing::TestWithParam<QueueDepthVector> {};

TEST_P(QueueDepthTest, MemBits) {
  EXPECT_EQ(MemBits(GetParam().queue_depth), GetParam().mem_bits);
}

TEST_P(QueueDepthTest, RequestBothWays) {
  const IoRequestImm v{GetParam().buf_id, 0x1020};
  EXPECT_EQ(EncodeIoRequestImm(v, GetParam().mem_bits), GetParam().request);
  EXPECT_EQ(DecodeIoRequestImm(GetParam().request, GetParam().mem_bits), v);
}

TEST_P(QueueDepthTest, ResponseBothWays) {
  const IoResponseImm v{GetParam().buf_id, 0, false};
  EXPECT_EQ(EncodeIoResponseImm(v), GetParam().response);
  EXPECT_EQ(DecodeIoResponseImm(GetParam().response), v);
}

INSTANTIATE_TEST_SUITE_P(
    WireVectors, QueueDepthTest,
    testing::Values(QueueDepthVector{1, 28, 0, 0x00001020, 0x10000000},
                    QueueDepthVector{64, 22, 3, 0x00C01020, 0x10000003},
                    QueueDepthVector{128, 21, 3, 0x00601020, 0x10000003},
                    QueueDepthVector{512, 19, 3, 0x00181020, 0x10000003},
                    QueueDepthVector{1000, 18, 3, 0x000C1020, 0x10000003},
                    QueueDepthVector{1024, 18, 3, 0x000C1020, 0x10000003}));

TEST(ImmediateTest, TypesOfTheTopBits) {
  EXPECT_EQ(ImmTypeOf(0x0fffffff), ImmType::kIoRequest);
  EXPECT_EQ(ImmTypeOf(0x10280005), ImmType::kIoResponse);
  EXPECT_EQ(ImmTypeOf(0x20000005), ImmType::kIoResponseInv);
  EXPECT_EQ(ImmTypeOf(kHeartbeatImm), ImmType::kHeartbeat);
  EXPECT_EQ(ImmTypeOf(kHeartbeatAckImm), ImmType::kHeartbeatAck);
  EXPECT_EQ(static_cast<int>(ImmTypeOf(0xf0000000)), 15);
}

TEST(ImmediateTest, HeartbeatsHaveNoPayload) {
  EXPECT_EQ(kHeartbeatImm, 0x80000000u);
  EXPECT_EQ(kHeartbeatAckImm, 0x90000000u);
}

TEST(ImmediateTest, ResponseCarriesErrno) {
  EXPECT_EQ(EncodeIoResponseImm({5, EIO, false}), 0x10280005u);
  EXPECT_EQ(EncodeIoResponseImm({5, ENOTCONN, false}), 0x13580005u);
  EXPECT_EQ(EncodeIoResponseImm({5, 0, true}), 0x20000005u);
  EXPECT_EQ(EncodeIoResponseImm({0, ENOENT, true}), 0x20100000u);
  EXPECT_EQ(DecodeIoResponseImm(0x13580005),
            (IoResponseImm{5, ENOTCONN, false}));
  EXPECT_EQ(DecodeIoResponseImm(0x20100000), (IoResponseImm{0, ENOENT, true}));
}

TEST(ImmediateTest, LargestErrnoIsSentAsItIs) {
  EXPECT_EQ(DecodeIoResponseImm(EncodeIoResponseImm({7, 511, false})).error,
            511);
}

TEST(ImmediateTest, ErrnoThatDoesNotFitIsEioAndNeverSuccess) {
  for (const int error : {512, 524, 1024, 1 << 20, -5}) {
    EXPECT_EQ(DecodeIoResponseImm(EncodeIoResponseImm({7, error, false})),
              (IoResponseImm{7, EIO, false}))
        << error;
  }
}

TEST(ImmediateTest, LargestRequestFillsThePayloadExactly) {
  const int mem_bits = MemBits(512);
  const uint32_t imm =
      EncodeIoRequestImm({511, (1u << mem_bits) - 1}, mem_bits);
  EXPECT_EQ(imm, kImmPayloadMask);
  EXPECT_EQ(ImmTypeOf(imm), ImmType::kIoRequest);
}

TEST(ImmediateTest, FencePutsPathAndConnectIntoThePayload) {
  Uuid uuid{};
  uuid[0] = 0xcd;
  uuid[1] = 0xab;
  uuid[2] = 0xf1;  // the upper half is cut off
  uuid[3] = 0xff;
  EXPECT_EQ(FencePath(uuid), 0x1abcdu);
  EXPECT_EQ(EncodeFenceImm(ImmType::kFence, {0x1abcd, 7}), 0xa1abcd07u);
  EXPECT_EQ(EncodeFenceImm(ImmType::kFenceDone, {0xfffff, 255}), 0xbfffffffu);
  EXPECT_EQ(ImmTypeOf(0xa1abcd07u), ImmType::kFence);
  EXPECT_EQ(ImmTypeOf(0xb1abcd07u), ImmType::kFenceDone);
  EXPECT_EQ(DecodeFenceImm(0xb1abcd07u), (FenceImm{0x1abcd, 7}));
}

TEST(ImmediateTest, FenceCoversItsConnectAndOlderOnes) {
  EXPECT_TRUE(FenceCovers({1, 7}, 7));
  EXPECT_TRUE(FenceCovers({1, 7}, 6));
  EXPECT_FALSE(FenceCovers({1, 7}, 8));
  // The byte wraps, the count of the connect request does not.
  EXPECT_TRUE(FenceCovers({1, 1}, 255));
  EXPECT_TRUE(FenceCovers({1, 0xff}, 0x1ff));
  EXPECT_FALSE(FenceCovers({1, 255}, 256));
}

TEST(ImmediateTest, NoticeCarriesAllPayloadBitsBothWays) {
  EXPECT_EQ(EncodeNoticeImm(ImmType::kNotice, 5), 0xc0000005u);
  EXPECT_EQ(EncodeNoticeImm(ImmType::kNoticeAck, kImmPayloadMask), 0xdfffffffu);
  EXPECT_EQ(ImmTypeOf(0xc0000005u), ImmType::kNotice);
  EXPECT_EQ(ImmTypeOf(0xdfffffffu), ImmType::kNoticeAck);
  EXPECT_EQ(DecodeNoticeImm(0xc0000005u), 5u);
  EXPECT_EQ(DecodeNoticeImm(0xdfffffffu), kImmPayloadMask);
}

}  // namespace
}  // namespace rtrs::wire
