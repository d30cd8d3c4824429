// Writers and verifiers over all sessions; devices of one session by id.
#include <errno.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/mutex.h"
#include "server/device_registry.h"
#include "server/device_table.h"
#include "tests/server/fixture.h"

namespace rnbd::server {
namespace {

using wire::AccessMode;

DeviceKey Key(uint64_t inode) {
  DeviceKey key;
  key.device = 1;
  key.inode = inode;
  return key;
}

TEST(DeviceKeyTest, BlockDevicesByTheirNumberWhateverTheNode) {
  struct stat a {};
  a.st_rdev = 7;
  a.st_dev = 1;
  a.st_ino = 2;
  struct stat b = a;
  b.st_dev = 3;
  b.st_ino = 4;
  EXPECT_EQ(DeviceKey::Of(a, true), DeviceKey::Of(b, true));
  EXPECT_FALSE(DeviceKey::Of(a, false) == DeviceKey::Of(b, false));
  b.st_rdev = 8;
  EXPECT_FALSE(DeviceKey::Of(a, true) == DeviceKey::Of(b, true));
}

TEST(DeviceRegistryTest, ErrorNamesTheWriter) {
  LossRecord losses("");
  DeviceRegistry registry(1, &losses);
  ASSERT_TRUE(registry.Admit(Key(1), AccessMode::kRw, "host1").ok());
  const auto refused = registry.Admit(Key(1), AccessMode::kRw, "host2");
  EXPECT_EQ(rtrs::ErrnoOf(refused.status()), EPERM);
  EXPECT_NE(refused.status().message().find("host1"), std::string::npos);
}

TEST(DeviceRegistryTest, ReadersDoNotCount) {
  LossRecord losses("");
  DeviceRegistry registry(1, &losses);
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(registry.Admit(Key(1), AccessMode::kRo, "reader").ok());
  }
  EXPECT_TRUE(registry.Admit(Key(1), AccessMode::kRw, "writer").ok());
  EXPECT_TRUE(registry.Admit(Key(1), AccessMode::kRo, "reader").ok());
}

TEST(DeviceRegistryTest, OneSessionMayMigrateToItself) {
  LossRecord losses("");
  DeviceRegistry registry(1, &losses);
  auto first = registry.Admit(Key(1), AccessMode::kRw, "host");
  auto second = registry.Admit(Key(1), AccessMode::kMigration, "host");
  ASSERT_TRUE(first.ok() && second.ok());
  registry.Release(*first, AccessMode::kRw, "host");
  EXPECT_FALSE(registry.Admit(Key(1), AccessMode::kRw, "other").ok());
  registry.Release(*second, AccessMode::kMigration, "host");
  EXPECT_TRUE(registry.Admit(Key(1), AccessMode::kRw, "other").ok());
}

TEST(DeviceRegistryTest, VerifierChangesWithServerIncarnationAndFailure) {
  LossRecord losses("");
  DeviceRegistry first(1, &losses);
  DeviceRegistry second(2, &losses);
  auto device = first.Admit(Key(1), AccessMode::kRo, "s");
  ASSERT_TRUE(device.ok());
  const uint64_t verifier = first.WriteVerifier(**device, 5);
  EXPECT_EQ(first.WriteVerifier(**device, 5), verifier);
  EXPECT_NE(first.WriteVerifier(**device, 6), verifier);
  EXPECT_NE(second.WriteVerifier(**device, 5), verifier);
  (*device)->CountSyncFailure();
  EXPECT_NE(first.WriteVerifier(**device, 5), verifier);
}

TEST(DeviceRegistryTest, FailuresOutliveTheLastClose) {
  LossRecord losses("");
  DeviceRegistry registry(1, &losses);
  auto device = registry.Admit(Key(1), AccessMode::kRw, "s");
  ASSERT_TRUE(device.ok());
  const uint64_t before = registry.WriteVerifier(**device, 5);
  (*device)->CountSyncFailure();
  registry.Release(*device, AccessMode::kRw, "s");
  auto again = registry.Admit(Key(1), AccessMode::kRw, "s");
  ASSERT_TRUE(again.ok());
  EXPECT_NE(registry.WriteVerifier(**again, 5), before);
}

class LossRecordTest : public testing::Test {
 protected:
  // The verifier that a server with `secret` gives now; it has just started.
  uint64_t VerifierAfterRestart(uint64_t secret = 1) {
    LossRecord losses(dir_.path());
    DeviceRegistry registry(secret, &losses);
    return registry.WriteVerifier(
        **registry.Admit(Key(1), AccessMode::kRw, "s"), 5);
  }
  void FailSync(uint64_t inode) {
    LossRecord losses(dir_.path());
    DeviceRegistry registry(1, &losses);
    (*registry.Admit(Key(inode), AccessMode::kRw, "s"))->CountSyncFailure();
  }
  TempDir dir_;
};

TEST_F(LossRecordTest, ARestartOfTheServerLosesNothing) {
  EXPECT_EQ(VerifierAfterRestart(), VerifierAfterRestart());
  EXPECT_NE(VerifierAfterRestart(1), VerifierAfterRestart(2));
}

TEST_F(LossRecordTest, AFailedSyncIsKnownAfterARestart) {
  const uint64_t before = VerifierAfterRestart();
  FailSync(1);
  const uint64_t once = VerifierAfterRestart();
  EXPECT_NE(once, before);
  EXPECT_EQ(VerifierAfterRestart(), once);
  FailSync(1);
  EXPECT_NE(VerifierAfterRestart(), once);
  EXPECT_NE(VerifierAfterRestart(), before);
}

TEST_F(LossRecordTest, AFailedSyncOfAnotherDeviceChangesNothing) {
  const uint64_t before = VerifierAfterRestart();
  FailSync(2);
  EXPECT_EQ(VerifierAfterRestart(), before);
}

TEST_F(LossRecordTest, SecretIsThatOfTheBootIfFailuresAreRemembered) {
  const LossRecord persistent(dir_.path());
  EXPECT_EQ(VerifierSecret(persistent), VerifierSecret(persistent));
  const LossRecord forgetful("");
  EXPECT_NE(VerifierSecret(forgetful), VerifierSecret(forgetful));
}

TEST_F(LossRecordTest, DirectoryIsMadeOrDoneWithout) {
  EXPECT_TRUE(LossRecord(dir_.path() + "/new").persistent());
  EXPECT_FALSE(LossRecord(dir_.path() + "/not/there").persistent());
  dir_.MakeFile("file", 1);
  EXPECT_FALSE(LossRecord(dir_.File("file")).persistent());
}

std::unique_ptr<OpenDevice> MakeDevice(DeviceRegistry* registry,
                                       uint64_t inode) {
  auto device = std::make_unique<OpenDevice>();
  device->registry = registry;
  device->name = absl::StrCat("disk", inode);
  device->session_name = "s";
  device->shared = *registry->Admit(Key(inode), AccessMode::kRo, "s");
  device->backing =
      std::make_unique<Backing>(dup(0), Geometry{}, InlineIo::kNever);
  return device;
}

TEST(DeviceTableTest, FindsOpenDevicesOnly) {
  LossRecord losses("");
  DeviceRegistry registry(1, &losses);
  DeviceTable table;
  DeviceSlot* slot = table.Open(MakeDevice(&registry, 1));
  ASSERT_NE(slot, nullptr);
  EXPECT_EQ(table.FindByName("disk1"), slot);
  EXPECT_EQ(table.FindByName("disk2"), nullptr);
  EXPECT_EQ(table.FindByKey(Key(1)), slot);
  EXPECT_EQ(table.Acquire(0), slot);
  bool closed = false;
  EXPECT_TRUE(table.Close(0, [&closed](auto) { closed = true; }));
  EXPECT_FALSE(closed);
  EXPECT_EQ(table.FindByName("disk1"), nullptr);
  EXPECT_EQ(table.FindByKey(Key(1)), nullptr);
  EXPECT_EQ(table.Acquire(0), nullptr);
  EXPECT_FALSE(table.Close(0, [](auto) {}));
  slot->Release();
  EXPECT_TRUE(closed);
}

TEST(DeviceTableTest, IdOfAClosingDeviceIsNotGivenAway) {
  LossRecord losses("");
  DeviceRegistry registry(1, &losses);
  DeviceTable table;
  table.Open(MakeDevice(&registry, 1));
  DeviceSlot* held = table.Acquire(0);
  EXPECT_TRUE(table.Close(0, [](auto) {}));
  EXPECT_EQ(table.Open(MakeDevice(&registry, 2))->id(), 1u);
  held->Release();
  EXPECT_EQ(table.Open(MakeDevice(&registry, 3))->id(), 0u);
}

TEST(DeviceTableTest, FullTableRefuses) {
  LossRecord losses("");
  DeviceRegistry registry(1, &losses);
  DeviceTable table;
  for (uint32_t i = 0; i < DeviceTable::kMaxDevices; ++i) {
    auto device = std::make_unique<OpenDevice>();
    device->registry = &registry;
    ASSERT_NE(table.Open(std::move(device)), nullptr);
  }
  EXPECT_EQ(table.Open(std::make_unique<OpenDevice>()), nullptr);
}

// Threads that use a device while it is closed and opened again: each close
// ends exactly once, and nobody holds the device when it does.
TEST(DeviceTableTest, ClosesExactlyOnceAmongManyUsers) {
  LossRecord losses("");
  DeviceRegistry registry(1, &losses);
  DeviceTable table;
  std::atomic<bool> stop{false};
  std::atomic<int> users{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (!stop.load()) {
        DeviceSlot* slot = table.Acquire(0);
        if (slot == nullptr) continue;
        users.fetch_add(1);
        EXPECT_EQ(slot->device().name, "disk1");
        users.fetch_sub(1);
        slot->Release();
      }
    });
  }
  std::atomic<int> closes{0};
  constexpr int kRounds = 2000;
  for (int i = 0; i < kRounds; ++i) {
    ASSERT_NE(table.Open(MakeDevice(&registry, 1)), nullptr);
    rtrs::Notification closed;
    ASSERT_TRUE(table.Close(0, [&](std::unique_ptr<OpenDevice> device) {
      EXPECT_EQ(users.load(), 0);
      EXPECT_EQ(device->name, "disk1");
      closes.fetch_add(1);
      closed.Notify();
    }));
    closed.WaitForNotification();
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(closes.load(), kRounds);
}

}  // namespace
}  // namespace rnbd::server
