// All devices that are open in any session, by what they are, not by name:
// counts writers, remembers failed writes to stable storage, and gives write
// verifiers. wire.md §7.3 (the W rule), design decisions 6 and 9.
#ifndef SERVER_DEVICE_REGISTRY_H_
#define SERVER_DEVICE_REGISTRY_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "rtrs/base/mutex.h"
#include "rtrs/wire/rnbd_messages.h"
#include "server/device_key.h"
#include "server/loss_record.h"

namespace rnbd::server {

// One device, shared by the sessions that have it open.
class SharedDevice {
 public:
  SharedDevice(const DeviceKey& key, LossRecord* losses)
      : key_(key), losses_(losses), sync_failures_(losses->Count(key)) {}
  const DeviceKey& key() const { return key_; }

  // How often writes could not be brought to stable storage. The kernel tells
  // of a failure only once, so that everyone who had the device open then must
  // remember it: any thread.
  uint64_t sync_failures() const {
    return sync_failures_.load(std::memory_order_acquire);
  }
  // Remembered before anyone is told: a client must not find the old verifier
  // again at the next start of the server.
  void CountSyncFailure();

 private:
  friend class DeviceRegistry;

  const DeviceKey key_;
  LossRecord* const losses_;
  std::atomic<uint64_t> sync_failures_;
  // The following are guarded by the registry's mutex.
  uint32_t opens_ = 0;
  std::vector<std::string> writers_;  // session names, one per rw or migration
};

// Any thread.
class DeviceRegistry {
 public:
  // `secret`: see VerifierSecret. `losses` is borrowed.
  DeviceRegistry(uint64_t secret, LossRecord* losses)
      : secret_(secret), losses_(losses) {}

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
  LossRecord* const losses_;
  rtrs::Mutex mutex_;
  // Devices that are open, and those that were and had failures.
  absl::flat_hash_map<DeviceKey, std::shared_ptr<SharedDevice>> devices_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace rnbd::server

#endif  // SERVER_DEVICE_REGISTRY_H_
