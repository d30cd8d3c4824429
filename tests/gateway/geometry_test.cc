#include "gateway/geometry.h"

#include <errno.h>

#include "gtest/gtest.h"
#include "rtrs/base/errno_status.h"

namespace rnbd::gateway {
namespace {

using rtrs::wire::Capabilities;

wire::OpenRsp Rsp() {
  wire::OpenRsp rsp;
  rsp.nsectors = 2048;
  rsp.logical_block_size = 512;
  rsp.physical_block_size = 4096;
  rsp.max_write_zeroes_sectors = 1024;
  rsp.max_discard_sectors = 2048;
  rsp.discard_granularity = 4096;
  return rsp;
}

rtrs::client::SessionLimits Limits(uint32_t bits = 0) {
  rtrs::client::SessionLimits limits;
  limits.max_io_size = 126976;
  limits.capabilities.bits = bits;
  return limits;
}

int Apply(const wire::OpenRsp& rsp, DeviceInfo* info,
          WriteZeroesChoice choice = WriteZeroesChoice::kAuto,
          uint32_t bits = 0) {
  return rtrs::ErrnoOf(ApplyOpenRsp(rsp, Limits(bits), choice, info));
}

TEST(Geometry, TakesWhatTheServerSaid) {
  wire::OpenRsp rsp = Rsp();
  rsp.cache_policy = wire::OpenRsp::kFua;
  rsp.rotational = true;
  DeviceInfo info;
  ASSERT_EQ(Apply(rsp, &info), 0);
  EXPECT_EQ(info.size, 1u << 20);
  EXPECT_EQ(info.logical_block_size, 512u);
  EXPECT_EQ(info.physical_block_size, 4096u);
  EXPECT_EQ(info.max_io_size, 126976u);
  EXPECT_EQ(info.max_discard, 1u << 20);
  EXPECT_TRUE(info.fua);
  EXPECT_FALSE(info.write_back);
  EXPECT_TRUE(info.rotational);
}

TEST(Geometry, RefusesBlockSizesNobodyCanUse) {
  for (const int size : {0, 1, 256, 513, 1536, 65535}) {
    wire::OpenRsp rsp = Rsp();
    rsp.logical_block_size = static_cast<uint16_t>(size);
    DeviceInfo info;
    EXPECT_EQ(Apply(rsp, &info), EPROTO) << size;
  }
}

TEST(Geometry, RefusesSizesThatWrap) {
  for (const uint64_t n : {uint64_t{1} << 54, ~uint64_t{0}}) {
    wire::OpenRsp rsp = Rsp();
    rsp.nsectors = n;
    DeviceInfo info;
    EXPECT_EQ(Apply(rsp, &info), EPROTO) << n;
  }
}

TEST(Geometry, RefusesBlocksThatDoNotFitARequest) {
  wire::OpenRsp rsp = Rsp();
  rsp.logical_block_size = 4096;
  rtrs::client::SessionLimits limits = Limits();
  limits.max_io_size = 2048;
  DeviceInfo info;
  EXPECT_FALSE(ApplyOpenRsp(rsp, limits, WriteZeroesChoice::kAuto, &info).ok());
}

TEST(Geometry, RoundsSizesToBlocks) {
  wire::OpenRsp rsp = Rsp();
  rsp.logical_block_size = 4096;
  rsp.nsectors = 2049;
  rtrs::client::SessionLimits limits = Limits();
  limits.max_io_size = 10000;
  DeviceInfo info;
  ASSERT_TRUE(ApplyOpenRsp(rsp, limits, WriteZeroesChoice::kAuto, &info).ok());
  EXPECT_EQ(info.size, 1u << 20);
  EXPECT_EQ(info.max_io_size, 8192u);
}

TEST(Geometry, PhysicalBlockIsAtLeastTheLogicalOne) {
  wire::OpenRsp rsp = Rsp();
  rsp.logical_block_size = 4096;
  rsp.physical_block_size = 0;
  DeviceInfo info;
  ASSERT_EQ(Apply(rsp, &info), 0);
  EXPECT_EQ(info.physical_block_size, 4096u);
}

TEST(Geometry, WriteZeroesOnlyToThoseWhoAnnounceIt) {
  DeviceInfo info;
  ASSERT_EQ(Apply(Rsp(), &info), 0);
  EXPECT_EQ(info.max_write_zeroes, 0u);
  ASSERT_EQ(
      Apply(Rsp(), &info, WriteZeroesChoice::kAuto, Capabilities::kWriteZeroes),
      0);
  EXPECT_EQ(info.max_write_zeroes, 1024u * 512);
  ASSERT_EQ(
      Apply(Rsp(), &info, WriteZeroesChoice::kNo, Capabilities::kWriteZeroes),
      0);
  EXPECT_EQ(info.max_write_zeroes, 0u);
  ASSERT_EQ(Apply(Rsp(), &info, WriteZeroesChoice::kYes), 0);
  EXPECT_EQ(info.max_write_zeroes, 1024u * 512);
}

TEST(Geometry, SlotZeroMeansNoWriteZeroesWhateverTheUserSays) {
  wire::OpenRsp rsp = Rsp();
  rsp.max_write_zeroes_sectors = 0;
  DeviceInfo info;
  ASSERT_EQ(Apply(rsp, &info, WriteZeroesChoice::kYes), 0);
  EXPECT_EQ(info.max_write_zeroes, 0u);
}

TEST(Geometry, VerifierOnlyFromThoseWhoAnnounceIt) {
  wire::OpenRsp rsp = Rsp();
  rsp.write_verifier = 7;
  DeviceInfo info;
  ASSERT_EQ(Apply(rsp, &info), 0);
  EXPECT_EQ(info.write_verifier, 0u);
  ASSERT_EQ(
      Apply(rsp, &info, WriteZeroesChoice::kAuto, Capabilities::kWriteVerifier),
      0);
  EXPECT_EQ(info.write_verifier, 7u);
}

TEST(Geometry, DiscardUnitsAreRoundedInwards) {
  DeviceInfo info;
  ASSERT_EQ(Apply(Rsp(), &info), 0);
  ByteRange range = WholeDiscardUnits(info, 512, 16384);
  EXPECT_EQ(range.begin, 4096u);
  EXPECT_EQ(range.end, 16384u);
  EXPECT_TRUE(WholeDiscardUnits(info, 512, 4096).empty());
  range = WholeDiscardUnits(info, 8192, 4096);
  EXPECT_EQ(range.begin, 8192u);
  EXPECT_EQ(range.end, 12288u);
}

TEST(Geometry, DiscardUnitsBeginAtTheAlignment) {
  wire::OpenRsp rsp = Rsp();
  rsp.discard_alignment = 1024;
  DeviceInfo info;
  ASSERT_EQ(Apply(rsp, &info), 0);
  EXPECT_TRUE(WholeDiscardUnits(info, 0, 1024).empty());
  ByteRange range = WholeDiscardUnits(info, 0, 16384);
  EXPECT_EQ(range.begin, 1024u);
  EXPECT_EQ(range.end, 1024u + 3 * 4096);
  range = WholeDiscardUnits(info, 1025, 16384);
  EXPECT_EQ(range.begin, 1024u + 4096);
}

TEST(Geometry, DiscardSmallerThanItsUnitIsNone) {
  wire::OpenRsp rsp = Rsp();
  rsp.max_discard_sectors = 4;
  DeviceInfo info;
  ASSERT_EQ(Apply(rsp, &info), 0);
  EXPECT_EQ(info.max_discard, 0u);
  EXPECT_EQ(DiscardStep(info), 0u);
}

TEST(Geometry, DiscardStepIsWholeUnits) {
  wire::OpenRsp rsp = Rsp();
  rsp.max_discard_sectors = 0xffffffff;
  rsp.discard_granularity = 3 * 4096;
  DeviceInfo info;
  ASSERT_EQ(Apply(rsp, &info), 0);
  EXPECT_NE(DiscardStep(info), 0u);
  EXPECT_EQ(DiscardStep(info) % (3 * 4096), 0u);
}

TEST(Geometry, DiscardUnitThatCutsBlocksIsNotUsed) {
  wire::OpenRsp rsp = Rsp();
  rsp.discard_granularity = 1000;
  DeviceInfo info;
  ASSERT_EQ(Apply(rsp, &info), 0);
  EXPECT_EQ(info.max_discard, 0u);
}

}  // namespace
}  // namespace rnbd::gateway
