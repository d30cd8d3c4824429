// A session, its devices and their requests.
#include <errno.h>

#include <atomic>
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

TEST_F(RnbdSessionTest, OpenExchangesSessInfo) {
  auto session = Open();
  const std::vector<SeenMessage> seen = server_.seen();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].type, RnbdType::kSessInfo);
  EXPECT_TRUE(seen[0].service);
  EXPECT_EQ(seen[0].data_len, wire::SessInfo::kSize);
}

TEST_F(RnbdSessionTest, MapOpensAndLettingGoCloses) {
  auto session = Open();
  auto device = session->Map("disk0", AccessMode::kRo);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ((*device)->info().size, 1u << 20);
  EXPECT_EQ((*device)->info().device_path, "disk0");
  EXPECT_EQ((*device)->info().sessname, "demo");
  EXPECT_EQ((*device)->info().access_mode, AccessMode::kRo);
  ASSERT_EQ(server_.Count(RnbdType::kOpen), 1u);
  EXPECT_EQ(server_.seen()[1].open.access_mode, AccessMode::kRo);
  EXPECT_TRUE(server_.seen()[1].service);
  EXPECT_EQ(server_.open_devices(), 1u);
  device->reset();
  EXPECT_EQ(server_.open_devices(), 0u);
  EXPECT_EQ(server_.Count(RnbdType::kClose), 1u);
}

TEST_F(RnbdSessionTest, SecondMapOfTheSameNameIsCounted) {
  auto session = Open();
  auto first = *session->Map("disk0", AccessMode::kRw);
  auto second = *session->Map("disk0", AccessMode::kRw);
  EXPECT_EQ(server_.Count(RnbdType::kOpen), 1u);
  first.reset();
  EXPECT_EQ(server_.Count(RnbdType::kClose), 0u);
  EXPECT_TRUE(second->Read(buffer_, 4096, 0, 0).ok());
  second.reset();
  EXPECT_EQ(server_.Count(RnbdType::kClose), 1u);
}

TEST_F(RnbdSessionTest, OtherModeOfTheSameNameIsRefusedHere) {
  auto session = Open();
  auto first = *session->Map("disk0", AccessMode::kRw);
  auto second = session->Map("disk0", AccessMode::kRo);
  EXPECT_EQ(rtrs::ErrnoOf(second.status()), EEXIST);
  EXPECT_THAT(Message(second.status()), HasSubstr("access_mode=rw"));
  EXPECT_THAT(Message(second.status()), HasSubstr("access_mode=ro"));
  EXPECT_EQ(server_.Count(RnbdType::kOpen), 1u);
  EXPECT_TRUE(first->Read(buffer_, 4096, 0, 0).ok());
  first.reset();
  EXPECT_TRUE(session->Map("disk0", AccessMode::kRo).ok());
}

TEST_F(RnbdSessionTest, DevicesOfASessionHaveTheirOwnIds) {
  auto session = Open();
  auto a = *session->Map("disk0", AccessMode::kRw);
  auto b = *session->Map("disk1", AccessMode::kRw);
  buffer_[0] = 1;
  ASSERT_TRUE(b->Write(buffer_, 512, 0, false, 0).ok());
  const std::vector<wire::Io> ios = server_.ios();
  ASSERT_EQ(ios.size(), 1u);
  EXPECT_EQ(ios[0].device_id, 1u);
}

TEST_F(RnbdSessionTest, DeviceKeepsTheSessionAlive) {
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  session.reset();
  EXPECT_TRUE(device->Read(buffer_, 4096, 0, 0).ok());
}

TEST_F(RnbdSessionTest, MissingDeviceNamesDeviceAndSession) {
  auto session = Open();
  const auto device = session->Map("nothere", AccessMode::kRw);
  EXPECT_EQ(rtrs::ErrnoOf(device.status()), ENOENT);
  EXPECT_THAT(Message(device.status()), HasSubstr("nothere"));
  EXPECT_THAT(Message(device.status()), HasSubstr("session demo"));
  EXPECT_THAT(Message(device.status()), HasSubstr("no such device"));
}

TEST_F(RnbdSessionTest, SecondWriterIsExplained) {
  auto session = Open();
  server_.FailOpens(1, EPERM);
  const auto device = session->Map("disk0", AccessMode::kRw);
  EXPECT_EQ(rtrs::ErrnoOf(device.status()), EPERM);
  EXPECT_THAT(Message(device.status()), HasSubstr("open for writing"));
  EXPECT_TRUE(session->Map("disk0", AccessMode::kRw).ok());
}

TEST_F(RnbdSessionTest, BadDevicePathIsNotSent) {
  auto session = Open();
  EXPECT_FALSE(session->Map("../x", AccessMode::kRw).ok());
  EXPECT_FALSE(session->Map(std::string(255, 'x'), AccessMode::kRw).ok());
  EXPECT_EQ(server_.Count(RnbdType::kOpen), 0u);
}

TEST_F(RnbdSessionTest, UnusableAnswerIsClosed) {
  server_.AddDevice("odd", 1 << 20).rsp.logical_block_size = 0;
  auto session = Open();
  EXPECT_EQ(rtrs::ErrnoOf(session->Map("odd", AccessMode::kRw).status()),
            EPROTO);
  WaitForClose();
}

TEST_F(RnbdSessionTest, LateOpenIsClosed) {
  options_.io_timeout = absl::Milliseconds(50);
  auto session = Open();
  server_.HoldOpens();
  const auto device = session->Map("disk0", AccessMode::kRw);
  EXPECT_EQ(rtrs::ErrnoOf(device.status()), ETIMEDOUT);
  EXPECT_THAT(Message(device.status()), HasSubstr("io_timeout"));
  server_.ReleaseOpens();
  WaitForClose();
  EXPECT_EQ(server_.Count(RnbdType::kOpen), 1u);
  EXPECT_EQ(server_.open_devices(), 0u);
}

TEST_F(RnbdSessionTest, SessionMayEndBeforeTheAnswerToOpen) {
  options_.io_timeout = absl::Milliseconds(50);
  auto session = Open();
  server_.HoldOpens();
  EXPECT_FALSE(session->Map("disk0", AccessMode::kRw).ok());
  std::thread release([this] { server_.ReleaseOpens(); });
  session.reset();
  release.join();
  EXPECT_EQ(server_.open_devices(), 0u);
}

TEST_F(RnbdSessionTest, MapAfterALateOpenGetsAnOpenDevice) {
  options_.io_timeout = absl::Milliseconds(50);
  auto session = Open();
  server_.HoldOpens();
  EXPECT_FALSE(session->Map("disk0", AccessMode::kRw).ok());
  // Another mode, too, waits for the old OPEN instead of sharing its id.
  EXPECT_EQ(rtrs::ErrnoOf(session->Map("disk0", AccessMode::kRo).status()),
            ETIMEDOUT);
  EXPECT_EQ(server_.Count(RnbdType::kOpen), 1u);
  server_.ReleaseOpens();
  absl::StatusOr<std::shared_ptr<BlockDevice>> device;
  const absl::Time limit = absl::Now() + absl::Seconds(30);
  do {
    device = session->Map("disk0", AccessMode::kRo);
  } while (!device.ok() && absl::Now() < limit);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_TRUE((*device)->Read(buffer_, 512, 0, 0).ok());
}

TEST_F(RnbdSessionTest, ConcurrentMapsShareOneOpen) {
  auto session = Open();
  server_.HoldOpens();
  std::vector<std::thread> threads;
  std::vector<std::shared_ptr<BlockDevice>> devices(8);
  for (auto& device : devices) {
    threads.emplace_back([&session, &device] {
      auto mapped = session->Map("disk0", AccessMode::kRw);
      if (mapped.ok()) device = *mapped;
    });
  }
  server_.WaitForHeldOpen();
  server_.ReleaseOpens();
  for (std::thread& thread : threads) thread.join();
  for (const auto& device : devices) EXPECT_EQ(device, devices[0]);
  EXPECT_NE(devices[0], nullptr);
  EXPECT_EQ(server_.Count(RnbdType::kOpen), 1u);
}

TEST_F(RnbdSessionTest, MapAndUnmapInManyThreads) {
  auto session = Open();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&session] {
      uint8_t buffer[512];
      for (int i = 0; i < 50; ++i) {
        auto device = session->Map("disk0", AccessMode::kRw);
        ASSERT_TRUE(device.ok()) << device.status();
        EXPECT_TRUE((*device)->Read(buffer, 512, 0, 0).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(server_.open_devices(), 0u);
  EXPECT_EQ(server_.Count(RnbdType::kOpen), server_.Count(RnbdType::kClose));
}

TEST_F(RnbdSessionTest, NameInUseIsTriedAgain) {
  refusals_ = 3;
  int pauses = 0;
  options_.pause = [&pauses](absl::Duration) { return ++pauses > 0; };
  EXPECT_NE(Open(), nullptr);
  EXPECT_EQ(connects_, 4);
  EXPECT_EQ(pauses, 3);
}

TEST_F(RnbdSessionTest, NameInUseEndsWithAMessage) {
  refusals_ = 1000000;
  options_.name_in_use_timeout = absl::Milliseconds(30);
  options_.name_in_use_interval = absl::Milliseconds(10);
  const auto session = RnbdSession::Open(options_, nullptr, Factory());
  EXPECT_EQ(rtrs::ErrnoOf(session.status()), EPERM);
  EXPECT_THAT(Message(session.status()), HasSubstr("sessname=demo"));
  EXPECT_THAT(Message(session.status()), HasSubstr("may still be in use"));
  EXPECT_GT(connects_, 1);
}

TEST_F(RnbdSessionTest, NameInUseStopsWhenThePauseIsInterrupted) {
  refusals_ = 1000000;
  options_.pause = [](absl::Duration) { return false; };
  EXPECT_FALSE(RnbdSession::Open(options_, nullptr, Factory()).ok());
  EXPECT_EQ(connects_, 1);
}

TEST_F(RnbdSessionTest, OtherConnectErrorsAreNotTriedAgain) {
  const auto session = RnbdSession::Open(
      options_, nullptr,
      [this]()
          -> absl::StatusOr<std::unique_ptr<rtrs::client::BlockingSession>> {
        ++connects_;
        return rtrs::ErrnoError(ECONNREFUSED, "path ip:127.0.0.1");
      });
  EXPECT_EQ(rtrs::ErrnoOf(session.status()), ECONNREFUSED);
  EXPECT_EQ(connects_, 1);
}

TEST_F(RnbdSessionTest, RequestsFailAtOnceWhenTheyShall) {
  options_.fail_fast = true;
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  fake_->Disconnect();
  const absl::Status status = device->Read(buffer_, 512, 0, 0);
  EXPECT_EQ(rtrs::ErrnoOf(status), ENOTCONN);
  EXPECT_THAT(Message(status), HasSubstr("disk0"));
  EXPECT_THAT(Message(status), HasSubstr("disconnected"));
}

TEST_F(RnbdSessionTest, RequestsWaitForTheServerUpToIoTimeout) {
  options_.io_timeout = absl::Milliseconds(50);
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  fake_->Disconnect();
  const absl::Status status = device->Read(buffer_, 512, 0, 0);
  EXPECT_EQ(rtrs::ErrnoOf(status), ETIMEDOUT);
  EXPECT_THAT(Message(status), HasSubstr("disconnected"));
  EXPECT_THAT(Message(status), HasSubstr("io_timeout=50ms"));
}

TEST_F(RnbdSessionTest, WaitingRequestIsGivenUpWhenItsCallerLeaves) {
  std::atomic<bool> leave = false;
  options_.give_up = [&leave] { return leave.load(); };
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  fake_->Disconnect();
  leave = true;
  EXPECT_EQ(rtrs::ErrnoOf(device->Read(buffer_, 512, 0, 0)), ESHUTDOWN);
  EXPECT_FALSE(session->Map("disk1", AccessMode::kRw).ok());
}

TEST_F(RnbdSessionTest, RequestsGoOnWhenTheServerIsBack) {
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  fake_->Disconnect();
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 4; ++i) {
    threads.emplace_back([&device, i] {
      std::vector<uint8_t> data(4096, static_cast<uint8_t>(i + 1));
      EXPECT_TRUE(device->Write(data.data(), 4096, i * 4096, true, 0).ok());
    });
  }
  fake_->Reconnect();
  for (std::thread& thread : threads) thread.join();
  for (uint64_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(device->Read(buffer_, 4096, i * 4096, 0).ok());
    EXPECT_EQ(buffer_[4095], i + 1);
  }
  for (const wire::Io& io : server_.ios()) EXPECT_EQ(io.device_id, 11u);
}

TEST_F(RnbdSessionTest, RequestLostWithTheSessionRunsAgain) {
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  // The third part finds the session gone.
  int parts = 0;
  server_.on_io = [&](const wire::Io&) {
    if (++parts == 3) {
      fake_->Disconnect();
      fake_->Reconnect();
    }
    return 0;
  };
  std::vector<uint8_t> data(1 << 20, 0x77);
  ASSERT_TRUE(device->Write(data.data(), 1 << 20, 0, false, 0).ok());
  server_.on_io = nullptr;
  std::vector<uint8_t> seen(1 << 20);
  ASSERT_TRUE(device->Read(seen.data(), 1 << 20, 0, 0).ok());
  EXPECT_EQ(seen, data);
}

TEST_F(RnbdSessionTest, SmallerRequestsAfterAReconnectAreSplitAnew) {
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  fake_->Disconnect();
  server_.limits.max_io_size = 8192;
  fake_->Reconnect();
  std::vector<uint8_t> data(100 * 1024, 0x33);
  ASSERT_TRUE(device->Write(data.data(), 100 * 1024, 4096, false, 0).ok());
  std::vector<uint8_t> seen(100 * 1024);
  ASSERT_TRUE(device->Read(seen.data(), 100 * 1024, 4096, 0).ok());
  EXPECT_EQ(seen, data);
  for (const wire::Io& io : server_.ios()) EXPECT_LE(io.length, 8192u);
}

TEST_F(RnbdSessionTest, MapWaitsForAPath) {
  auto session = Open();
  fake_->Disconnect();
  std::thread back([this] {
    while (server_.Count(RnbdType::kOpen) == 0 &&
           fake_->state() != rtrs::client::SessionState::kConnected) {
      fake_->Reconnect();
    }
  });
  const auto device = session->Map("disk0", AccessMode::kRw);
  back.join();
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_TRUE((*device)->Read(buffer_, 512, 0, 0).ok());
}

TEST_F(RnbdSessionTest, MapFailsAtOnceWhenItShall) {
  options_.fail_fast = true;
  auto session = Open();
  fake_->Disconnect();
  EXPECT_EQ(rtrs::ErrnoOf(session->Map("disk0", AccessMode::kRw).status()),
            ECONNABORTED);
}

TEST_F(RnbdSessionTest, PathsAreThoseOfTheSessionBelow) {
  auto session = Open();
  const auto spec = *rtrs::ParsePathSpec("ip:127.0.0.9", 1234);
  ASSERT_TRUE(session->ChangePath(rtrs::client::PathChange::kAdd, spec).ok());
  ASSERT_EQ(session->paths().size(), 1u);
  EXPECT_EQ(session->paths()[0].spec.ToString(), "ip:127.0.0.9");
}

TEST_F(RnbdSessionTest, DeadlineIsIoTimeoutFromNow) {
  options_.io_timeout = absl::Seconds(100);
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  const absl::Time before = rtrs::Clock::System()->Now();
  ASSERT_TRUE(device->Read(buffer_, 512, 0, 0).ok());
  const absl::Time after = rtrs::Clock::System()->Now();
  EXPECT_GE(fake_->last_deadline(), before + absl::Seconds(100));
  EXPECT_LE(fake_->last_deadline(), after + absl::Seconds(100));
}

TEST_F(RnbdSessionTest, InfiniteIoTimeoutHasNoDeadline) {
  options_.io_timeout = absl::InfiniteDuration();
  auto session = Open();
  auto device = *session->Map("disk0", AccessMode::kRw);
  ASSERT_TRUE(device->Read(buffer_, 512, 0, 0).ok());
  EXPECT_EQ(fake_->last_deadline(), absl::InfiniteFuture());
}

}  // namespace
}  // namespace rnbd::gateway
