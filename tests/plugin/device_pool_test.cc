#include "nbdkit-plugin/device_pool.h"

#include <errno.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/mutex.h"

namespace rnbd::plugin {
namespace {

using gateway::BlockDevice;
using gateway::DeviceInfo;
using wire::AccessMode;

// Counts what is mapped, by name.
class FakeGateway : public gateway::Gateway {
 public:
  class Device : public BlockDevice {
   public:
    Device(FakeGateway* gateway, DeviceInfo info)
        : gateway_(gateway), info_(std::move(info)) {}
    ~Device() override { gateway_->Count(info_.device_path, -1); }
    DeviceInfo info() const override { return info_; }
    absl::Status Read(void*, uint32_t, uint64_t, uint32_t) override {
      return absl::OkStatus();
    }
    absl::Status Write(const void*, uint32_t, uint64_t, bool,
                       uint32_t) override {
      return absl::OkStatus();
    }
    absl::Status Flush(uint32_t) override { return absl::OkStatus(); }
    absl::Status Trim(uint32_t, uint64_t, bool, uint32_t) override {
      return absl::OkStatus();
    }
    absl::Status Zero(uint32_t, uint64_t, ZeroFlags, uint32_t) override {
      return absl::OkStatus();
    }

   private:
    FakeGateway* const gateway_;
    const DeviceInfo info_;
  };

  absl::Status ChangePath(rtrs::client::PathChange,
                          const rtrs::PathSpec&) override {
    return absl::OkStatus();
  }
  std::vector<rtrs::client::PathInfo> paths() const override { return {}; }

  absl::StatusOr<std::shared_ptr<BlockDevice>> Map(absl::string_view name,
                                                   AccessMode mode) override {
    if (name == "missing") return rtrs::ErrnoError(ENOENT, "missing");
    DeviceInfo info;
    info.device_path = std::string(name);
    info.access_mode = mode;
    Count(info.device_path, 1);
    return std::make_shared<Device>(this, std::move(info));
  }

  int mapped(const std::string& name) {
    rtrs::MutexLock lock(&mu_);
    return mapped_[name];
  }
  int maps() {
    rtrs::MutexLock lock(&mu_);
    return maps_;
  }
  // Returns when `name` is not mapped any more.
  bool WaitForUnmap(const std::string& name) {
    const absl::Time limit = absl::Now() + absl::Seconds(30);
    while (mapped(name) != 0) {
      if (absl::Now() > limit) return false;
      std::this_thread::yield();
    }
    return true;
  }

 private:
  void Count(const std::string& name, int change) {
    rtrs::MutexLock lock(&mu_);
    mapped_[name] += change;
    if (change > 0) ++maps_;
  }
  rtrs::Mutex mu_;
  std::map<std::string, int> mapped_ ABSL_GUARDED_BY(mu_);
  int maps_ ABSL_GUARDED_BY(mu_) = 0;
};

class DevicePoolTest : public ::testing::Test {
 protected:
  std::shared_ptr<FakeGateway> gateway_ = std::make_shared<FakeGateway>();
};

TEST_F(DevicePoolTest, DeviceIsSharedAndStaysForALittle) {
  DevicePool pool(gateway_, absl::Hours(1));
  auto first = *pool.Acquire("disk", AccessMode::kRw);
  auto second = *pool.Acquire("disk", AccessMode::kRw);
  EXPECT_EQ(&first->device(), &second->device());
  first.reset();
  second.reset();
  EXPECT_EQ(gateway_->mapped("disk"), 1);
  auto third = *pool.Acquire("disk", AccessMode::kRw);
  EXPECT_EQ(gateway_->maps(), 1);
}

TEST_F(DevicePoolTest, IdleDeviceIsUnmapped) {
  DevicePool pool(gateway_, absl::Milliseconds(1));
  auto used = *pool.Acquire("used", AccessMode::kRw);
  auto lease = *pool.Acquire("disk", AccessMode::kRw);
  lease.reset();
  EXPECT_TRUE(gateway_->WaitForUnmap("disk"));
  EXPECT_EQ(gateway_->mapped("used"), 1);
}

TEST_F(DevicePoolTest, IdleDeviceMakesRoomForAnotherMode) {
  DevicePool pool(gateway_, absl::Hours(1));
  auto lease = *pool.Acquire("disk", AccessMode::kRw);
  lease.reset();
  lease = *pool.Acquire("disk", AccessMode::kRo);
  EXPECT_EQ(lease->device().info().access_mode, AccessMode::kRo);
  EXPECT_EQ(gateway_->mapped("disk"), 1);
}

TEST_F(DevicePoolTest, FailureLeavesNothingBehind) {
  DevicePool pool(gateway_, absl::Hours(1));
  EXPECT_EQ(rtrs::ErrnoOf(pool.Acquire("missing", AccessMode::kRw).status()),
            ENOENT);
  EXPECT_EQ(gateway_->maps(), 0);
}

TEST_F(DevicePoolTest, EndUnmapsIdleDevicesAtOnce) {
  {
    DevicePool pool(gateway_, absl::Hours(1));
    for (int i = 0; i < 5; ++i) {
      auto lease = *pool.Acquire("disk" + std::to_string(i), AccessMode::kRw);
    }
    EXPECT_EQ(gateway_->maps(), 5);
  }
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(gateway_->mapped("disk" + std::to_string(i)), 0);
  }
}

TEST_F(DevicePoolTest, ManyThreads) {
  DevicePool pool(gateway_, absl::ZeroDuration());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&pool] {
      for (int i = 0; i < 200; ++i) {
        auto lease =
            pool.Acquire("disk" + std::to_string(i % 3), AccessMode::kRw);
        ASSERT_TRUE(lease.ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(gateway_->WaitForUnmap("disk" + std::to_string(i)));
  }
}

}  // namespace
}  // namespace rnbd::plugin
