// Devices that change their size while they are mapped.
#include <errno.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gateway/rnbd_session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rtrs/base/errno_status.h"
#include "tests/gateway/fake_session.h"

namespace rnbd::gateway {
namespace {

using ::testing::HasSubstr;
using wire::AccessMode;
using wire::RnbdType;

constexpr uint32_t kId = 0;  // of the first device that is opened

class ResizeTest : public ::testing::Test {
 protected:
  ResizeTest() {
    FakeDevice& disk = server_.AddDevice("disk0", kDiskSize);
    disk.rsp.max_discard_sectors = 512;
    disk.rsp.discard_granularity = 4096;
    server_.AddDevice("disk1", kDiskSize);
    server_.limits.capabilities.bits = rtrs::wire::Capabilities::kNotice |
                                       rtrs::wire::Capabilities::kWriteVerifier;
    disk.rsp.write_verifier = 7;
    options_.sessname = "demo";
    options_.fail_fast = true;
    session_ = *RnbdSession::Open(options_, nullptr, [this] {
      auto session = std::make_unique<FakeSession>(&server_);
      fake_ = session.get();
      return session;
    });
    device_ = *session_->Map("disk0", AccessMode::kRw);
  }

  // Waits for it in the gateway's own threads.
  template <typename Condition>
  void WaitFor(Condition condition) {
    const absl::Time limit = absl::Now() + absl::Seconds(60);
    while (!condition()) {
      ASSERT_LT(absl::Now(), limit) << "it does not happen";
      std::this_thread::yield();
    }
  }
  void WaitForSize(uint64_t size) {
    WaitFor([&] { return device_->info().size == size; });
  }
  // The disk is resized, and the server says so.
  void Resize(uint64_t size) {
    server_.Resize("disk0", size);
    fake_->Notice(kId);
  }
  size_t Opens() const { return server_.Count(RnbdType::kOpen); }
  size_t Closes() const { return server_.Count(RnbdType::kClose); }
  absl::Status Read(uint64_t offset) {
    return device_->Read(buffer_, 512, offset, 0);
  }

  FakeServer server_;
  GatewayOptions options_;
  FakeSession* fake_ = nullptr;
  std::shared_ptr<RnbdSession> session_;
  std::shared_ptr<BlockDevice> device_;
  uint8_t buffer_[4096] = {};
};

TEST_F(ResizeTest, GrowthIsTakenUp) {
  EXPECT_EQ(rtrs::ErrnoOf(Read(kDiskSize)), EINVAL);
  Resize(2 * kDiskSize);
  WaitForSize(2 * kDiskSize);
  EXPECT_TRUE(Read(kDiskSize).ok());
  EXPECT_TRUE(device_->Write(buffer_, 512, 2 * kDiskSize - 512, false, 0).ok());
  EXPECT_EQ(rtrs::ErrnoOf(Read(2 * kDiskSize)), EINVAL);
  EXPECT_EQ(server_.ios().back().device_id, kId);
}

TEST_F(ResizeTest, BeyondTheNewEndOfAShrunkDeviceNothingIsSent) {
  Resize(kDiskSize / 2);
  WaitForSize(kDiskSize / 2);
  EXPECT_TRUE(Read(kDiskSize / 2 - 512).ok());
  server_.ClearSeen();
  const absl::Status read = Read(kDiskSize / 2);
  EXPECT_EQ(rtrs::ErrnoOf(read), EINVAL);
  EXPECT_THAT(std::string(read.message()),
              HasSubstr("has 524288 bytes now, it had 1048576 when"));
  EXPECT_EQ(rtrs::ErrnoOf(
                device_->Write(buffer_, 4096, kDiskSize / 2 - 512, false, 0)),
            ENOSPC);
  EXPECT_EQ(rtrs::ErrnoOf(device_->Zero(512, kDiskSize / 2, {}, 0)), ENOSPC);
  EXPECT_EQ(rtrs::ErrnoOf(device_->Trim(4096, kDiskSize / 2, false, 0)),
            EINVAL);
  EXPECT_TRUE(server_.seen().empty());
}

TEST_F(ResizeTest, OneCloseEndsWhatWasAskedForOften) {
  auto second = *session_->Map("disk0", AccessMode::kRw);
  for (uint64_t i = 2; i < 6; ++i) {
    Resize(i * kDiskSize);
    WaitForSize(i * kDiskSize);
    EXPECT_EQ(second->info().size, i * kDiskSize);
  }
  EXPECT_EQ(Opens(), 5u);
  device_.reset();
  EXPECT_EQ(Closes(), 0u);
  second.reset();
  EXPECT_EQ(Closes(), 1u);
  EXPECT_EQ(server_.open_devices(), 0u);
  auto third = *session_->Map("disk0", AccessMode::kRo);
  EXPECT_EQ(third->info().size, 5 * kDiskSize);
}

TEST_F(ResizeTest, UnknownDeviceIsNotAskedFor) {
  for (const uint32_t id : {1u, 4711u, (1u << 28) - 1}) fake_->Notice(id);
  Resize(2 * kDiskSize);  // what came first is through when this is
  WaitForSize(2 * kDiskSize);
  EXPECT_EQ(Opens(), 2u);
}

TEST_F(ResizeTest, FloodOfNoticesIsOneQuestionAtATime) {
  server_.HoldOpens();
  server_.Resize("disk0", 2 * kDiskSize);
  for (uint32_t i = 0; i < 100000; ++i) fake_->Notice(i % 4);
  server_.WaitForHeldOpen();
  for (uint32_t i = 0; i < 100000; ++i) fake_->Notice(i % 4);
  server_.ReleaseOpens();
  WaitForSize(2 * kDiskSize);
  EXPECT_EQ(Opens(), 2u);
}

TEST_F(ResizeTest, RequestsGoOnWhileItIsAsked) {
  server_.HoldOpens();
  Resize(2 * kDiskSize);
  server_.WaitForHeldOpen();
  EXPECT_TRUE(Read(0).ok());
  EXPECT_EQ(device_->info().size, kDiskSize);
  auto second = session_->Map("disk0", AccessMode::kRw);
  ASSERT_TRUE(second.ok());
  server_.ReleaseOpens();
  WaitForSize(2 * kDiskSize);
  EXPECT_TRUE(Read(kDiskSize).ok());
}

// The answer that was not waited for must not leave the device open.
TEST_F(ResizeTest, UnmapWhileItIsAskedClosesOnce) {
  server_.HoldOpens();
  Resize(2 * kDiskSize);
  server_.WaitForHeldOpen();
  const std::weak_ptr<BlockDevice> device = device_;
  std::thread unmap([this] { device_.reset(); });
  WaitFor([&] { return device.expired(); });
  server_.ReleaseOpens();
  unmap.join();
  EXPECT_EQ(Opens(), 2u);
  EXPECT_EQ(Closes(), 1u);
  EXPECT_EQ(server_.open_devices(), 0u);
}

TEST_F(ResizeTest, RefusedQuestionLeavesTheDeviceAsItIs) {
  server_.FailOpens(1, EIO);
  Resize(2 * kDiskSize);
  WaitFor([this] { return Opens() == 2; });
  EXPECT_TRUE(Read(0).ok());
  EXPECT_EQ(device_->info().size, kDiskSize);
  // The server says it again.
  WaitFor([this] {
    fake_->Notice(kId);
    return device_->info().size == 2 * kDiskSize;
  });
}

TEST_F(ResizeTest, AnswerOfADeviceThatLostFuaIsNotTaken) {
  server_.AddDevice("disk0", 2 * kDiskSize).rsp.cache_policy =
      wire::OpenRsp::kWriteBack;
  fake_->Notice(kId);
  WaitFor([this] { return !Read(0).ok(); });
  EXPECT_THAT(std::string(Read(0).message()), HasSubstr("another device"));
  device_.reset();
  EXPECT_EQ(Closes(), 1u);
}

TEST_F(ResizeTest, SessionLostWhileItIsAskedTellsTheSizeLater) {
  server_.HoldOpens();
  Resize(2 * kDiskSize);
  server_.WaitForHeldOpen();
  fake_->Disconnect();
  server_.ReleaseOpens();
  fake_->Reconnect();
  WaitForSize(2 * kDiskSize);
  WaitFor([this] { return Read(0).ok(); });
  EXPECT_TRUE(Read(kDiskSize).ok());
  EXPECT_NE(server_.ios().back().device_id, kId);
  const size_t opens = Opens();
  device_.reset();
  EXPECT_EQ(Closes(), 1u);
  EXPECT_EQ(Opens(), opens);
}

// A loss that the server told of stays to be told after a question for the
// size.
TEST_F(ResizeTest, QuestionDoesNotHideLostWrites) {
  ASSERT_TRUE(device_->Write(buffer_, 512, 0, false, 0).ok());
  server_.AddDevice("disk0", 2 * kDiskSize).rsp.write_verifier = 8;
  fake_->Notice(kId);
  WaitForSize(2 * kDiskSize);
  fake_->Disconnect();
  fake_->Reconnect();
  WaitFor([this] { return Read(0).ok(); });
  const absl::Status flush = device_->Flush(0);
  EXPECT_EQ(rtrs::ErrnoOf(flush), EIO);
  EXPECT_THAT(std::string(flush.message()), HasSubstr("512 bytes"));
}

// Without a word: the session was lost meanwhile.

TEST_F(ResizeTest, DeviceThatGrewWhileAwayIsTaken) {
  fake_->Disconnect();
  server_.AddDevice("disk0", 2 * kDiskSize).rsp.write_verifier = 8;
  fake_->Reconnect();
  WaitForSize(2 * kDiskSize);
  WaitFor([this] { return Read(0).ok(); });
  EXPECT_TRUE(Read(kDiskSize).ok());
}

TEST_F(ResizeTest, SmallerDeviceAfterTheReconnectIsAnother) {
  fake_->Disconnect();
  server_.AddDevice("disk0", kDiskSize / 2).rsp.write_verifier = 8;
  fake_->Reconnect();
  WaitFor([this] {
    return std::string(Read(0).message()).find("another device") !=
           std::string::npos;
  });
  EXPECT_THAT(std::string(Read(0).message()),
              HasSubstr("it has 1024 sectors, before 2048"));
}

TEST_F(ResizeTest, SmallerDeviceWithItsVerifierHasShrunk) {
  fake_->Disconnect();
  server_.Resize("disk0", kDiskSize / 2);
  fake_->Reconnect();
  WaitForSize(kDiskSize / 2);
  WaitFor([this] { return Read(0).ok(); });
  EXPECT_EQ(rtrs::ErrnoOf(Read(kDiskSize / 2)), EINVAL);
}

}  // namespace
}  // namespace rnbd::gateway
