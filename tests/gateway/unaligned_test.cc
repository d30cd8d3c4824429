// Requests whose edges are no whole blocks, against a reference in memory.
#include <string.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include "gateway/rnbd_session.h"
#include "gtest/gtest.h"
#include "rtrs/base/mutex.h"
#include "rtrs/base/random.h"
#include "tests/gateway/fake_session.h"

namespace rnbd::gateway {
namespace {

using wire::AccessMode;
using wire::Io;
using wire::Op;

class UnalignedTest : public ::testing::TestWithParam<int> {
 protected:
  UnalignedTest() : disk_(server_.AddDevice("disk", kDiskSize)) {
    options_.sessname = "demo";
  }
  void Map() {
    session_ = *RnbdSession::Open(options_, nullptr, [this] {
      return std::make_unique<FakeSession>(&server_);
    });
    device_ = *session_->Map("disk", AccessMode::kRw);
    server_.ClearSeen();
  }

  FakeServer server_;
  FakeDevice& disk_;
  GatewayOptions options_;
  std::shared_ptr<RnbdSession> session_;
  std::shared_ptr<BlockDevice> device_;
};

TEST_P(UnalignedTest, RandomOperationsAgainstAReference) {
  const auto block = static_cast<uint16_t>(GetParam());
  disk_.rsp.logical_block_size = block;
  disk_.rsp.max_write_zeroes_sectors = 128;
  server_.limits.max_io_size = std::max<uint32_t>(block, 16384);
  options_.write_zeroes =
      GetParam() == 512 ? WriteZeroesChoice::kYes : WriteZeroesChoice::kNo;
  Map();
  std::vector<uint8_t> reference = disk_.bytes;
  std::vector<uint8_t> buffer(kDiskSize);
  rtrs::SeededRandom random(static_cast<uint64_t>(GetParam()));
  for (int i = 0; i < 3000; ++i) {
    const uint64_t limit = random.Below(8) == 0 ? 200000 : 3ull * block;
    const uint64_t offset = random.Below(kDiskSize);
    const auto count = static_cast<uint32_t>(
        std::min(1 + random.Below(limit), kDiskSize - offset));
    switch (random.Below(4)) {
      case 0:
        ASSERT_TRUE(device_->Read(buffer.data(), count, offset, 0).ok());
        ASSERT_EQ(memcmp(buffer.data(), reference.data() + offset, count), 0)
            << "round " << i << ": " << count << " bytes at " << offset;
        break;
      case 1:
        ASSERT_TRUE(device_->Zero(count, offset, {}, 0).ok());
        memset(reference.data() + offset, 0, count);
        break;
      default:
        random.Fill(absl::MakeSpan(buffer.data(), std::min(count, 64u)));
        ASSERT_TRUE(
            device_->Write(buffer.data(), count, offset, i % 5 == 0, 0).ok());
        memcpy(reference.data() + offset, buffer.data(), count);
        break;
    }
  }
  EXPECT_EQ(disk_.bytes, reference);
}

INSTANTIATE_TEST_SUITE_P(BlockSizes, UnalignedTest,
                         ::testing::Values(512, 4096, 16384));

TEST_F(UnalignedTest, SmallReadTakesOneRequest) {
  Map();
  uint8_t byte = 0;
  ASSERT_TRUE(device_->Read(&byte, 1, 5000, 0).ok());
  EXPECT_EQ(byte, disk_.bytes[5000]);
  ASSERT_EQ(server_.ios().size(), 1u);
  EXPECT_EQ(server_.ios()[0].length, 512u);
}

TEST_F(UnalignedTest, SmallWriteReadsAndWritesItsBlock) {
  Map();
  const uint8_t byte = 0xab;
  ASSERT_TRUE(device_->Write(&byte, 1, 5000, false, 0).ok());
  EXPECT_EQ(disk_.bytes[5000], 0xab);
  const std::vector<Io> ios = server_.ios();
  ASSERT_EQ(ios.size(), 2u);
  EXPECT_EQ(ios[0].op, Op::kRead);
  EXPECT_EQ(ios[1].op, Op::kWrite);
  EXPECT_EQ(ios[1].length, 512u);
}

TEST_F(UnalignedTest, LargeWriteKeepsItsMiddleInPlace) {
  Map();
  std::vector<uint8_t> data(100000, 0x11);
  ASSERT_TRUE(device_->Write(data.data(), 100000, 100, true, 0).ok());
  EXPECT_EQ(
      std::count(disk_.bytes.begin() + 100, disk_.bytes.begin() + 100100, 0x11),
      100000);
  const std::vector<SeenMessage> seen = server_.seen();
  EXPECT_EQ(std::count_if(seen.begin(), seen.end(),
                          [&data](const SeenMessage& m) {
                            return m.io.op == Op::kWrite &&
                                   m.data == data.data() + 412;
                          }),
            1);
}

TEST_F(UnalignedTest, FailedReadOfAnEdgeWritesNothing) {
  server_.on_io = [](const Io& io) { return io.op == Op::kRead ? 5 : 0; };
  Map();
  const std::vector<uint8_t> before = disk_.bytes;
  const uint8_t bytes[3] = {1, 2, 3};
  EXPECT_FALSE(device_->Write(bytes, 3, 511, false, 0).ok());
  EXPECT_EQ(disk_.bytes, before);
}

// Writers of neighbouring bytes share blocks; each must find its own byte.
TEST_F(UnalignedTest, NeighboursInOneBlockDoNotUndoEachOther) {
  Map();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 200; ++i) {
        for (uint64_t at = 0; at < 4; ++at) {
          const auto value = static_cast<uint8_t>(i);
          ASSERT_TRUE(device_->Write(&value, 1, at * 300 + t, false, t).ok());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint64_t at = 0; at < 4; ++at) {
    for (int t = 0; t < 4; ++t) EXPECT_EQ(disk_.bytes[at * 300 + t], 199);
  }
}

// An aligned write between the read and the write-back of another's block.
TEST_F(UnalignedTest, AlignedWriteIsNotUndone) {
  Map();
  rtrs::Notification has_read;
  rtrs::Notification go_on;
  bool first_write = true;
  std::thread::id unaligned_thread;
  server_.on_io = [&](const Io& io) {
    if (std::this_thread::get_id() == unaligned_thread && io.op == Op::kWrite &&
        first_write) {
      first_write = false;
      has_read.Notify();  // the block was read, its write-back waits
      go_on.WaitForNotification();
    }
    return 0;
  };
  const uint8_t byte = 0xee;
  std::thread unaligned([&] {
    unaligned_thread = std::this_thread::get_id();
    EXPECT_TRUE(device_->Write(&byte, 1, 10, false, 0).ok());
  });
  has_read.WaitForNotification();
  std::vector<uint8_t> block(512, 0x77);
  std::thread aligned([&] {
    EXPECT_TRUE(device_->Write(block.data(), 512, 0, false, 1).ok());
  });
  // The aligned write reached the disk once before the write-back does.
  while (server_.Count(wire::RnbdType::kIo) < 3) std::this_thread::yield();
  go_on.Notify();
  unaligned.join();
  aligned.join();
  EXPECT_EQ(std::count(disk_.bytes.begin(), disk_.bytes.begin() + 512, 0x77),
            512);
}

TEST_F(UnalignedTest, AlignedWriteElsewhereIsSentOnce) {
  Map();
  rtrs::Notification has_read;
  rtrs::Notification go_on;
  server_.on_io = [&](const Io& io) {
    if (io.op == Op::kWrite && io.sector == 0) {
      has_read.Notify();
      go_on.WaitForNotification();
    }
    return 0;
  };
  const uint8_t byte = 0xee;
  std::thread unaligned(
      [&] { EXPECT_TRUE(device_->Write(&byte, 1, 10, false, 0).ok()); });
  has_read.WaitForNotification();
  std::vector<uint8_t> block(512, 0x77);
  EXPECT_TRUE(device_->Write(block.data(), 512, 512, false, 1).ok());
  EXPECT_EQ(server_.ios().size(), 3u);
  go_on.Notify();
  unaligned.join();
}

}  // namespace
}  // namespace rnbd::gateway
