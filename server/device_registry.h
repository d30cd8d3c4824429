// All devices that are open in any session, by what they are, not by name:
// counts writers, remembers failed writes to stable storage, and gives write
// verifiers. wire.md §7.3 (the W rule), design decisions 6 and 9.
#ifndef SERVER_DEVICE_REGISTRY_H_
#define SERVER_DEVICE_REGISTRY_H_

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "rtrs/base/mutex.h"
#include "rtrs/wire/rnbd_messages.h"

namespace rnbd::server {

// A block device by its number, a regular file by file system and inode.
struct DeviceKey {
  static DeviceKey Of(const struct stat& st, bool block_device);

  bool block_device = false;
  uint64_t device = 0;
  uint64_t inode = 0;

  friend bool operator==(const DeviceKey&, const DeviceKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const DeviceKey& k) {
    return H::combine(std::move(h), k.block_device, k.device, k.inode);
  }
};

// One device, shared by the sessions that have it open.
class SharedDevice {
 public:
  // `on_sync_failure` may be empty; outlives the device.
  SharedDevice(const DeviceKey& key,
               const std::function<void()>* on_sync_failure)
      : key_(key), on_sync_failure_(on_sync_failure) {}
  const DeviceKey& key() const { return key_; }

  // How often writes could not be brought to stable storage. The kernel tells
  // of a failure only once, so that everyone who had the device open then must
  // remember it: any thread.
  uint64_t sync_failures() const {
    return sync_failures_.load(std::memory_order_acquire);
  }
  void CountSyncFailure() {
    sync_failures_.fetch_add(1, std::memory_order_acq_rel);
    if (*on_sync_failure_) (*on_sync_failure_)();
  }

 private:
  friend class DeviceRegistry;

  const DeviceKey key_;
  const std::function<void()>* const on_sync_failure_;
  std::atomic<uint64_t> sync_failures_{0};
  // The following are guarded by the registry's mutex.
  uint32_t opens_ = 0;
  std::vector<std::string> writers_;  // session names, one per rw or migration
};

// Any thread.
class DeviceRegistry {
 public:
  // `secret`: VerifierSecret. `on_sync_failure` is called by any thread, and
  // outlives the devices.
  explicit DeviceRegistry(uint64_t secret,
                          std::function<void()> on_sync_failure = nullptr)
      : secret_(secret), on_sync_failure_(std::move(on_sync_failure)) {}

  // Admits an open in `mode`: ro always, rw if nobody writes, migration if at
  // most one does; else EPERM.
  absl::StatusOr<std::shared_ptr<SharedDevice>> Admit(
      const DeviceKey& key, wire::AccessMode mode,
      const std::string& session_name);
  // Undoes one Admit with the same mode and session.
  void Release(const std::shared_ptr<SharedDevice>& device,
               wire::AccessMode mode, const std::string& session_name);

  // Never 0; changes with the secret, with `incarnation` (the
  // file's birth, the device's sequence number) and with every failure to
  // bring writes to stable storage.
  uint64_t WriteVerifier(const SharedDevice& device,
                         uint64_t incarnation) const;

 private:
  const uint64_t secret_;
  const std::function<void()> on_sync_failure_;
  rtrs::Mutex mutex_;
  // Devices that are open, and those that were and had failures.
  absl::flat_hash_map<DeviceKey, std::shared_ptr<SharedDevice>> devices_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace rnbd::server

#endif  // SERVER_DEVICE_REGISTRY_H_
