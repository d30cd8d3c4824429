// What a mapped device sends for aligned requests, flush, trim and zero.
#include <errno.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gateway/rnbd_session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rtrs/base/errno_status.h"
#include "tests/gateway/fake_session.h"

namespace rnbd::gateway {
namespace {

using rtrs::client::Direction;
using rtrs::wire::Capabilities;
using ::testing::HasSubstr;
using wire::AccessMode;
using wire::Io;
using wire::Op;

constexpr uint32_t kMaxIo = 124 * 1024;
constexpr uint64_t kSize = 4 << 20;

class DeviceIoTest : public ::testing::Test {
 protected:
  DeviceIoTest() : disk_(server_.AddDevice("disk", kSize)) {
    disk_.rsp.max_discard_sectors = 512;
    disk_.rsp.discard_granularity = 4096;
    disk_.rsp.max_write_zeroes_sectors = 1024;
    options_.sessname = "demo";
  }
  BlockDevice& Device(AccessMode mode = AccessMode::kRw) {
    if (device_ == nullptr) {
      session_ = *RnbdSession::Open(options_, nullptr, [this] {
        return std::make_unique<FakeSession>(&server_);
      });
      device_ = *session_->Map("disk", mode);
      server_.ClearSeen();
    }
    return *device_;
  }

  FakeServer server_;
  FakeDevice& disk_;
  GatewayOptions options_;
  std::shared_ptr<RnbdSession> session_;
  std::shared_ptr<BlockDevice> device_;
  std::vector<uint8_t> buffer_ = std::vector<uint8_t>(kSize, 0x5a);
};

TEST_F(DeviceIoTest, AlignedReadUsesTheCallersBuffer) {
  ASSERT_TRUE(Device().Read(buffer_.data() + 3, 4096, 8192, 7).ok());
  const std::vector<SeenMessage> seen = server_.seen();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].direction, Direction::kRead);
  EXPECT_FALSE(seen[0].service);
  EXPECT_EQ(seen[0].data, buffer_.data() + 3);
  EXPECT_EQ(seen[0].data_len, 4096u);
  EXPECT_EQ(seen[0].affinity, 7u);
  EXPECT_EQ(seen[0].run_size, 1u);
  const Io want{.device_id = 0,
                .sector = 16,
                .op = Op::kRead,
                .flags = Io::kSync,
                .length = 4096};
  EXPECT_EQ(seen[0].io, want);
  EXPECT_TRUE(std::equal(disk_.bytes.begin() + 8192,
                         disk_.bytes.begin() + 12288, buffer_.begin() + 3));
}

TEST_F(DeviceIoTest, AlignedWriteUsesTheCallersBuffer) {
  ASSERT_TRUE(Device().Write(buffer_.data() + 1, 512, 1024, false, 3).ok());
  const std::vector<SeenMessage> seen = server_.seen();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].direction, Direction::kWrite);
  EXPECT_EQ(seen[0].data, buffer_.data() + 1);
  EXPECT_EQ(seen[0].affinity, 3u);
  const Io want{.device_id = 0,
                .sector = 2,
                .op = Op::kWrite,
                .flags = Io::kSync,
                .length = 512};
  EXPECT_EQ(seen[0].io, want);
}

TEST_F(DeviceIoTest, LargeRequestIsSplitAndAllPartsRunAtOnce) {
  ASSERT_TRUE(Device().Read(buffer_.data(), 1 << 20, 4096, 0).ok());
  std::vector<SeenMessage> seen = server_.seen();
  ASSERT_EQ(seen.size(), 9u);
  uint64_t total = 0;
  for (const SeenMessage& m : seen) {
    EXPECT_EQ(m.run_size, 9u);
    EXPECT_LE(m.data_len, kMaxIo);
    EXPECT_EQ(m.io.sector % 8, 0u);
    EXPECT_EQ(m.data, buffer_.data() + (m.io.sector * 512 - 4096));
    total += m.data_len;
  }
  EXPECT_EQ(total, 1u << 20);
  EXPECT_TRUE(std::equal(buffer_.begin(), buffer_.begin() + (1 << 20),
                         disk_.bytes.begin() + 4096));
}

TEST_F(DeviceIoTest, SplitPartsAreAboutEqual) {
  ASSERT_TRUE(Device().Write(buffer_.data(), 128 * 1024, 0, false, 0).ok());
  const std::vector<Io> ios = server_.ios();
  ASSERT_EQ(ios.size(), 2u);
  EXPECT_EQ(ios[0].length, 64u * 1024);
  EXPECT_EQ(ios[1].length, 64u * 1024);
}

TEST_F(DeviceIoTest, WholeDeviceInOneCall) {
  ASSERT_TRUE(Device().Write(buffer_.data(), kSize, 0, false, 0).ok());
  EXPECT_EQ(disk_.bytes, buffer_);
}

TEST_F(DeviceIoTest, EachPartOfManyBatchesGoesToItsPlace) {
  disk_.rsp.max_discard_sectors = 16;  // 512 parts
  ASSERT_TRUE(Device().Trim(kSize, 0, false, 0).ok());
  // The fake server takes the requests of a batch in an order of its own.
  std::vector<Io> ios = server_.ios();
  ASSERT_EQ(ios.size(), 512u);
  std::sort(ios.begin(), ios.end(),
            [](const Io& a, const Io& b) { return a.sector < b.sector; });
  for (size_t i = 0; i < ios.size(); ++i) {
    EXPECT_EQ(ios[i].sector, i * 16) << i;
    EXPECT_EQ(ios[i].length, 8192u) << i;
  }
}

TEST_F(DeviceIoTest, ErrorOfOnePartIsTheErrorOfTheRequest) {
  server_.on_io = [](const Io& io) { return io.sector > 1000 ? ENOSPC : 0; };
  const absl::Status status =
      Device().Write(buffer_.data(), 1 << 20, 0, false, 0);
  EXPECT_EQ(rtrs::ErrnoOf(status), ENOSPC);
  EXPECT_THAT(std::string(status.message()), HasSubstr("device disk"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("session demo"));
}

TEST_F(DeviceIoTest, NothingIsSentForEmptyRequests) {
  EXPECT_TRUE(Device().Read(buffer_.data(), 0, 512, 0).ok());
  EXPECT_TRUE(Device().Write(buffer_.data(), 0, kSize, false, 0).ok());
  EXPECT_TRUE(server_.seen().empty());
}

TEST_F(DeviceIoTest, RangesBeyondTheEndAreRefusedHere) {
  BlockDevice& device = Device();
  for (const uint64_t offset :
       {kSize - 511, kSize, kSize + 512, ~uint64_t{0} - 511, ~uint64_t{511}}) {
    for (const absl::Status& status :
         {device.Read(buffer_.data(), 512, offset, 0),
          device.Trim(512, offset, false, 0)}) {
      EXPECT_EQ(rtrs::ErrnoOf(status), EINVAL) << offset;
    }
    for (const absl::Status& status :
         {device.Write(buffer_.data(), 512, offset, false, 0),
          device.Zero(512, offset, {}, 0)}) {
      EXPECT_EQ(rtrs::ErrnoOf(status), ENOSPC) << offset;
    }
  }
  EXPECT_EQ(rtrs::ErrnoOf(device.Read(buffer_.data(), 0xffffffff, 512, 0)),
            EINVAL);
  EXPECT_TRUE(server_.seen().empty());
}

TEST_F(DeviceIoTest, ReadOnlyDeviceTakesNoWrites) {
  BlockDevice& device = Device(AccessMode::kRo);
  for (const absl::Status& status :
       {device.Write(buffer_.data(), 512, 0, false, 0),
        device.Trim(4096, 0, false, 0), device.Zero(512, 0, {}, 0)}) {
    EXPECT_EQ(rtrs::ErrnoOf(status), EROFS);
  }
  EXPECT_TRUE(server_.seen().empty());
  EXPECT_TRUE(device.Read(buffer_.data(), 512, 0, 0).ok());
  EXPECT_TRUE(device.Flush(0).ok());
}

TEST_F(DeviceIoTest, FlushIsAReadWithoutData) {
  ASSERT_TRUE(Device().Flush(2).ok());
  const std::vector<SeenMessage> seen = server_.seen();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].io.op, Op::kFlush);
  EXPECT_EQ(seen[0].io.length, 0u);
  EXPECT_EQ(seen[0].direction, Direction::kRead);
  EXPECT_EQ(seen[0].data_len, 0u);
  EXPECT_EQ(seen[0].affinity, 2u);
}

TEST_F(DeviceIoTest, FuaIsAFlagWhereTheDeviceHasIt) {
  ASSERT_TRUE(Device().Write(buffer_.data(), 4096, 0, true, 0).ok());
  const std::vector<Io> ios = server_.ios();
  ASSERT_EQ(ios.size(), 1u);
  EXPECT_EQ(ios[0].flags, Io::kSync | Io::kFua);
}

TEST_F(DeviceIoTest, FuaIsAFlushWhereTheDeviceHasNone) {
  disk_.rsp.cache_policy = wire::OpenRsp::kWriteBack;
  ASSERT_TRUE(Device().Write(buffer_.data(), 4096, 0, true, 0).ok());
  const std::vector<Io> ios = server_.ios();
  ASSERT_EQ(ios.size(), 2u);
  EXPECT_EQ(ios[0].op, Op::kWrite);
  EXPECT_EQ(ios[0].flags & Io::kFua, 0u);
  EXPECT_EQ(ios[1].op, Op::kFlush);
}

TEST_F(DeviceIoTest, TrimSendsWholeUnitsOnly) {
  ASSERT_TRUE(Device().Trim(12288, 512, false, 0).ok());
  const std::vector<SeenMessage> seen = server_.seen();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].io.op, Op::kDiscard);
  EXPECT_EQ(seen[0].io.sector, 8u);
  EXPECT_EQ(seen[0].io.length, 8192u);
  EXPECT_EQ(seen[0].data_len, 0u);
  EXPECT_EQ(seen[0].direction, Direction::kWrite);
}

TEST_F(DeviceIoTest, TrimIsSplitByMaxDiscard) {
  ASSERT_TRUE(Device().Trim(kSize, 0, false, 0).ok());
  uint64_t total = 0;
  for (const Io& io : server_.ios()) {
    EXPECT_LE(io.length, 512u * 512);
    total += io.length;
  }
  EXPECT_EQ(total, kSize);
  EXPECT_EQ(std::count(disk_.bytes.begin(), disk_.bytes.end(), 0xdd),
            static_cast<int64_t>(kSize));
}

TEST_F(DeviceIoTest, TrimOfLessThanAUnitSendsNothing) {
  EXPECT_TRUE(Device().Trim(4096, 1, false, 0).ok());
  EXPECT_TRUE(server_.seen().empty());
}

TEST_F(DeviceIoTest, TrimWithFuaFlushes) {
  ASSERT_TRUE(Device().Trim(4096, 0, true, 0).ok());
  const std::vector<Io> ios = server_.ios();
  ASSERT_EQ(ios.size(), 2u);
  EXPECT_EQ(ios[1].op, Op::kFlush);
}

TEST_F(DeviceIoTest, TrimWithoutDiscardIsNotSupported) {
  disk_.rsp.max_discard_sectors = 0;
  EXPECT_EQ(rtrs::ErrnoOf(Device().Trim(4096, 0, false, 0)), EOPNOTSUPP);
}

TEST_F(DeviceIoTest, ZeroIsDataForServersThatDidNotAnnounceIt) {
  ASSERT_TRUE(Device().Zero(1 << 20, 4096, {}, 0).ok());
  for (const Io& io : server_.ios()) EXPECT_EQ(io.op, Op::kWrite);
  EXPECT_EQ(std::count(disk_.bytes.begin() + 4096,
                       disk_.bytes.begin() + 4096 + (1 << 20), 0),
            1 << 20);
  EXPECT_NE(disk_.bytes[4094], 0);
}

TEST_F(DeviceIoTest, FastZeroIsNotSupportedAsData) {
  EXPECT_EQ(rtrs::ErrnoOf(Device().Zero(4096, 0, {.fast = true}, 0)),
            EOPNOTSUPP);
  EXPECT_TRUE(server_.seen().empty());
}

TEST_F(DeviceIoTest, ZeroIsOperationFiveWhereAnnounced) {
  server_.limits.capabilities.bits = Capabilities::kWriteZeroes;
  ASSERT_TRUE(Device().Zero(1 << 20, 0, {.fast = true}, 0).ok());
  const std::vector<SeenMessage> seen = server_.seen();
  ASSERT_EQ(seen.size(), 2u);
  for (const SeenMessage& m : seen) {
    EXPECT_EQ(m.io.op, Op::kWriteZeroes);
    EXPECT_EQ(m.io.length, 512u * 1024);
    EXPECT_EQ(m.io.flags & Io::kNoUnmap, Io::kNoUnmap);
    EXPECT_EQ(m.data_len, 0u);
    EXPECT_EQ(m.direction, Direction::kWrite);
  }
}

TEST_F(DeviceIoTest, ZeroThatMayTrimMayUnmap) {
  server_.limits.capabilities.bits = Capabilities::kWriteZeroes;
  ASSERT_TRUE(Device().Zero(4096, 0, {.may_trim = true}, 0).ok());
  const std::vector<Io> ios = server_.ios();
  ASSERT_EQ(ios.size(), 1u);
  EXPECT_EQ(ios[0].flags & Io::kNoUnmap, 0u);
}

TEST_F(DeviceIoTest, ZeroByOperationFiveWithFuaFlushes) {
  server_.limits.capabilities.bits = Capabilities::kWriteZeroes;
  ASSERT_TRUE(Device().Zero(4096, 0, {.fua = true}, 0).ok());
  const std::vector<Io> ios = server_.ios();
  ASSERT_EQ(ios.size(), 2u);
  EXPECT_EQ(ios[0].flags & Io::kFua, 0u);
  EXPECT_EQ(ios[1].op, Op::kFlush);
}

TEST_F(DeviceIoTest, UserMayForceOperationFive) {
  options_.write_zeroes = WriteZeroesChoice::kYes;
  ASSERT_TRUE(Device().Zero(4096, 0, {}, 0).ok());
  EXPECT_EQ(server_.ios()[0].op, Op::kWriteZeroes);
}

TEST_F(DeviceIoTest, ServerErrorsKeepTheirErrno) {
  server_.on_io = [](const Io&) { return ENOTCONN; };
  const absl::Status status = Device().Read(buffer_.data(), 512, 0, 0);
  EXPECT_EQ(rtrs::ErrnoOf(status), ENOTCONN);
  EXPECT_THAT(std::string(status.message()), HasSubstr("read of 512 bytes"));
}

}  // namespace
}  // namespace rnbd::gateway
