// What becomes of devices when the session below was lost and is back.
#include <errno.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/gateway/rnbd_session_fixture.h"

namespace rnbd::gateway {
namespace {

using ::testing::HasSubstr;
using wire::AccessMode;
using wire::RnbdType;

using RnbdSessionRecoveryTest = RnbdSessionTest;

TEST_F(RnbdSessionRecoveryTest, DevicesAreOpenedAgainAfterAReconnect) {
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  EXPECT_TRUE(ReadAfterReconnect(device.get()).ok());
  EXPECT_EQ(server_.Count(RnbdType::kSessInfo), 2u);
  EXPECT_EQ(server_.Count(RnbdType::kOpen), 2u);
  EXPECT_EQ(server_.ios().back().device_id, 11u);
}

// The answer to OPEN is on its way to us when the session is lost.
TEST_F(RnbdSessionRecoveryTest, DeviceOfAnOlderLifeIsOpenedAgain) {
  options_.fail_fast = true;
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  fake_->Disconnect();
  server_.HoldOpens();
  fake_->Reconnect();
  server_.WaitForHeldOpen();
  fake_->Disconnect();
  server_.ReleaseOpens();
  fake_->Reconnect();
  const absl::Time limit = absl::Now() + absl::Seconds(30);
  absl::Status status;
  do {
    status = device->Read(buffer_, 512, 0, 0);
    std::this_thread::yield();
  } while (!status.ok() && absl::Now() < limit);
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(RnbdSessionRecoveryTest, DeviceUnmappedWhileLostIsNotOpenedAgain) {
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  auto other = *session->Map("disk1", AccessMode::kRw);
  fake_->Disconnect();
  device.reset();
  fake_->Reconnect();
  EXPECT_TRUE(ReadWhenBack(other.get()).ok());
  EXPECT_EQ(server_.Count(RnbdType::kOpen), 3u);
  EXPECT_EQ(server_.Count(RnbdType::kClose), 0u);
  EXPECT_TRUE(session->Map("disk0", AccessMode::kRo).ok());
}

TEST_F(RnbdSessionRecoveryTest, AnotherDeviceUnderTheNameIsNotUsed) {
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  fake_->Disconnect();
  server_.AddDevice("disk0", 1 << 19);
  fake_->Reconnect();
  const absl::Status status = ReadWhenBack(device.get());
  EXPECT_THAT(Message(status), HasSubstr("another device"));
  device.reset();
  EXPECT_EQ(server_.open_devices(), 0u);
}

TEST_F(RnbdSessionRecoveryTest, DeviceThatLostFuaIsNotUsed) {
  FakeDevice& disk = server_.AddDevice("disk2", 1 << 20);
  auto session = Open();
  auto device = *session->Map("disk2", AccessMode::kRw);
  fake_->Disconnect();
  disk.rsp.cache_policy = wire::OpenRsp::kWriteBack;
  fake_->Reconnect();
  EXPECT_THAT(Message(ReadWhenBack(device.get())), HasSubstr("lost FUA"));
}

TEST_F(RnbdSessionRecoveryTest, DeviceThatIsRefusedLaterSaysSo) {
  options_.fail_fast = true;
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  fake_->Disconnect();
  server_.FailOpens(1, EPERM);
  fake_->Reconnect();
  const absl::Status status = ReadWhenBack(device.get());
  EXPECT_THAT(Message(status), HasSubstr("did not open it again"));
  EXPECT_THAT(Message(status), HasSubstr("open for writing"));
}

TEST_F(RnbdSessionRecoveryTest, RefusedDeviceIsAskedForAgain) {
  options_.reopen_interval = absl::Milliseconds(5);
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  fake_->Disconnect();
  server_.FailOpens(3, ENOENT);
  fake_->Reconnect();
  EXPECT_TRUE(device->Read(buffer_, 512, 0, 0).ok());
  EXPECT_EQ(server_.Count(RnbdType::kOpen), 5u);
}

TEST_F(RnbdSessionRecoveryTest, FlushTellsOnceOfWritesThatMayBeLost) {
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  ASSERT_TRUE(device->Write(buffer_, 512, 0, false, 0).ok());
  ASSERT_TRUE(ReadAfterReconnect(device.get()).ok());
  const absl::Status status = device->Flush(0);
  EXPECT_EQ(rtrs::ErrnoOf(status), EIO);
  EXPECT_THAT(Message(status), HasSubstr("512 bytes"));
  EXPECT_THAT(Message(status), HasSubstr("may be lost"));
  EXPECT_TRUE(device->Flush(0).ok());
}

TEST_F(RnbdSessionRecoveryTest, FlushThatAnotherServerAnsweredTellsOfTheLoss) {
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  ASSERT_TRUE(device->Write(buffer_, 4096, 0, false, 0).ok());
  // The flush is lost with the server that had answered the write.
  bool lost = false;
  fake_->Disconnect();
  std::thread back([this, &lost] {
    lost = true;
    fake_->Reconnect();
  });
  const absl::Status status = device->Flush(0);
  back.join();
  EXPECT_TRUE(lost);
  EXPECT_EQ(rtrs::ErrnoOf(status), EIO);
  EXPECT_THAT(Message(status), HasSubstr("4096 bytes"));
  EXPECT_TRUE(device->Flush(0).ok());
}

TEST_F(RnbdSessionRecoveryTest, NothingWasLostFromAWriteThroughCache) {
  server_.AddDevice("disk2", 1 << 20).rsp.cache_policy = 0;
  auto session = Open();
  auto device = *session->Map("disk2", AccessMode::kRw);
  ASSERT_TRUE(device->Write(buffer_, 512, 0, false, 0).ok());
  fake_->Disconnect();
  fake_->Reconnect();
  EXPECT_TRUE(device->Flush(0).ok());
}

TEST_F(RnbdSessionRecoveryTest, FuaTellsOfWritesThatMayBeLost) {
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  ASSERT_TRUE(device->Write(buffer_, 512, 0, false, 0).ok());
  ASSERT_TRUE(ReadAfterReconnect(device.get()).ok());
  EXPECT_EQ(rtrs::ErrnoOf(device->Write(buffer_, 512, 0, true, 0)), EIO);
}

TEST_F(RnbdSessionRecoveryTest, NothingIsLostWhenAllWasFlushed) {
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  ASSERT_TRUE(device->Write(buffer_, 512, 0, false, 0).ok());
  ASSERT_TRUE(device->Flush(0).ok());
  ASSERT_TRUE(device->Write(buffer_, 512, 512, true, 0).ok());
  ASSERT_TRUE(ReadAfterReconnect(device.get()).ok());
  EXPECT_TRUE(device->Flush(0).ok());
}

TEST_F(RnbdSessionRecoveryTest, NothingIsLostWhenTheVerifierIsTheSame) {
  server_.limits.capabilities.bits = rtrs::wire::Capabilities::kWriteVerifier;
  server_.AddDevice("disk2", 1 << 20).rsp.write_verifier = 99;
  auto session = Open();
  auto device = *session->Map("disk2", AccessMode::kRw);
  ASSERT_TRUE(device->Write(buffer_, 512, 0, false, 0).ok());
  ASSERT_TRUE(ReadAfterReconnect(device.get()).ok());
  EXPECT_TRUE(device->Flush(0).ok());
}

TEST_F(RnbdSessionRecoveryTest, ChangedVerifierMeansLoss) {
  server_.limits.capabilities.bits = rtrs::wire::Capabilities::kWriteVerifier;
  FakeDevice& disk = server_.AddDevice("disk2", 1 << 20);
  disk.rsp.write_verifier = 99;
  auto session = Open();
  auto device = *session->Map("disk2", AccessMode::kRw);
  ASSERT_TRUE(device->Write(buffer_, 512, 0, false, 0).ok());
  fake_->Disconnect();
  disk.rsp.write_verifier = 100;
  fake_->Reconnect();
  ASSERT_TRUE(ReadWhenBack(device.get()).ok());
  EXPECT_EQ(rtrs::ErrnoOf(device->Flush(0)), EIO);
}

}  // namespace
}  // namespace rnbd::gateway
