#include "nbdkit-plugin/device_pool.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "rtrs/base/mutex.h"
#include "rtrs/base/status_macros.h"

namespace rnbd::plugin {

DevicePool::DevicePool(std::shared_ptr<gateway::Gateway> gateway,
                       absl::Duration linger)
    : gateway_(std::move(gateway)),
      linger_(linger),
      thread_(&DevicePool::Thread, this) {}

DevicePool::~DevicePool() {
  {
    rtrs::MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

DevicePool::Lease::~Lease() {
  device_.reset();  // the table's is the last one
  pool_->Release(name_);
}

absl::StatusOr<std::unique_ptr<DevicePool::Lease>> DevicePool::Acquire(
    const std::string& name, wire::AccessMode mode) {
  // An idle device in another mode makes room; let go outside the lock, it
  // waits for the server.
  std::shared_ptr<gateway::BlockDevice> in_the_way;
  {
    rtrs::MutexLock lock(&mu_);
    const auto it = entries_.find(name);
    if (it != entries_.end()) {
      if (it->second.device->info().access_mode == mode) {
        ++it->second.users;
        return std::make_unique<Lease>(this, name, it->second.device);
      }
      if (it->second.users == 0) {
        in_the_way = std::move(it->second.device);
        entries_.erase(it);
      }
    }
  }
  in_the_way.reset();
  RTRS_ASSIGN_OR_RETURN(auto device, gateway_->Map(name, mode));
  rtrs::MutexLock lock(&mu_);
  Entry& entry = entries_[name];
  // Another thread may have mapped it at the same time: it is the same device,
  // the gateway refuses two modes at once.
  entry.device = device;
  ++entry.users;
  return std::make_unique<Lease>(this, name, std::move(device));
}

void DevicePool::Release(const std::string& name) {
  rtrs::MutexLock lock(&mu_);
  Entry& entry = entries_[name];
  if (--entry.users > 0) return;
  entry.idle_since = absl::Now();
  changed_.SignalAll();
}

std::vector<std::shared_ptr<gateway::BlockDevice>> DevicePool::TakeIdle(
    absl::Time* next) {
  const absl::Time now = absl::Now();
  *next = absl::InfiniteFuture();
  std::vector<std::shared_ptr<gateway::BlockDevice>> idle;
  for (auto it = entries_.begin(); it != entries_.end();) {
    const Entry& entry = it->second;
    const absl::Time due = entry.idle_since + linger_;
    if (entry.users == 0 && (due <= now || stopping_)) {
      idle.push_back(std::move(it->second.device));
      it = entries_.erase(it);
      continue;
    }
    if (entry.users == 0) *next = std::min(*next, due);
    ++it;
  }
  return idle;
}

void DevicePool::Thread() {
  for (;;) {
    std::vector<std::shared_ptr<gateway::BlockDevice>> idle;
    {
      rtrs::MutexLock lock(&mu_);
      absl::Time next;
      idle = TakeIdle(&next);
      if (idle.empty()) {
        if (stopping_) return;
        changed_.WaitWithDeadline(&mu_, next);
        continue;
      }
    }
    idle.clear();  // unmaps; outside the lock, it waits for the server
  }
}

}  // namespace rnbd::plugin
