#include "server/device_registry.h"

#include <errno.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/mutex.h"

namespace rnbd::server {
namespace {

// The finaliser of splitmix64: every bit of the input changes every bit.
uint64_t Mix(uint64_t v) {
  v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9u;
  v = (v ^ (v >> 27)) * 0x94d049bb133111ebu;
  return v ^ (v >> 31);
}

bool Writes(wire::AccessMode mode) { return mode != wire::AccessMode::kRo; }

}  // namespace

void SharedDevice::CountSyncFailure() {
  const uint64_t before =
      sync_failures_.fetch_add(1, std::memory_order_acq_rel);
  losses_->Add(key_, before + 1);
}

absl::StatusOr<std::shared_ptr<SharedDevice>> DeviceRegistry::Admit(
    const DeviceKey& key, wire::AccessMode mode,
    const std::string& session_name) {
  rtrs::MutexLock lock(&mutex_);
  std::shared_ptr<SharedDevice>& device = devices_[key];
  if (device == nullptr) device = std::make_shared<SharedDevice>(key, losses_);
  const size_t allowed = mode == wire::AccessMode::kMigration ? 2 : 1;
  if (Writes(mode) && device->writers_.size() >= allowed) {
    return rtrs::ErrnoError(
        EPERM, absl::StrCat("open for writing already, by session ",
                            absl::StrJoin(device->writers_, " and ")));
  }
  device->opens_++;
  if (Writes(mode)) device->writers_.push_back(session_name);
  return device;
}

void DeviceRegistry::Release(const std::shared_ptr<SharedDevice>& device,
                             wire::AccessMode mode,
                             const std::string& session_name) {
  rtrs::MutexLock lock(&mutex_);
  if (Writes(mode)) {
    auto& writers = device->writers_;
    const auto it = std::find(writers.begin(), writers.end(), session_name);
    if (it != writers.end()) writers.erase(it);
  }
  if (--device->opens_ == 0 && device->sync_failures() == 0) {
    devices_.erase(device->key());
  }
}

uint64_t DeviceRegistry::WriteVerifier(const SharedDevice& device,
                                       uint64_t incarnation) const {
  uint64_t v = Mix(secret_ + incarnation);
  v = Mix(v ^ device.key().device);
  v = Mix(v ^ device.key().inode);
  v = Mix(v + device.sync_failures());
  return v == 0 ? 1 : v;
}

}  // namespace rnbd::server
