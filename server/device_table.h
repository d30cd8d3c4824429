// The devices of one session by device_id, found without locks on the data
// path. wire.md §7.3, §7.6.
//
// A slot is never freed before its table: who holds an id from the wire adds
// itself to the slot's count first and asks then whether the slot is open.
// Closing takes the slot from the table at once and ends, in whichever thread,
// when the last one has gone.
#ifndef SERVER_DEVICE_TABLE_H_
#define SERVER_DEVICE_TABLE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "rtrs/wire/rnbd_messages.h"
#include "server/backing.h"
#include "server/device_registry.h"
#include "server/size_watch.h"

namespace rnbd::server {

// An open device of a session. Destroying it closes the file and gives up the
// place among the writers; that may block.
struct OpenDevice {
  OpenDevice() = default;
  ~OpenDevice();
  OpenDevice(const OpenDevice&) = delete;
  OpenDevice& operator=(const OpenDevice&) = delete;

  DeviceRegistry* registry = nullptr;  // that admitted it
  std::string session_name;
  std::string name;  // as in OPEN
  std::string path;
  wire::AccessMode mode = wire::AccessMode::kRo;
  std::shared_ptr<SharedDevice> shared;
  std::unique_ptr<Backing> backing;
  SizeWatch* size_watch = nullptr;  // that looks at it
  // Bytes, as the last OPEN_RSP said.
  mutable std::atomic<uint64_t> told_size{0};
  uint64_t incarnation = 0;
  // SharedDevice::sync_failures when the client last opened it, and in which of
  // its lives (RnbdSession::lives_) that was.
  mutable std::atomic<uint64_t> sync_failures_at_open{0};
  mutable uint32_t opened_in_life = 0;

  // Gives up the place among the writers already now.
  void LeaveRegistry();

  bool writable() const { return mode != wire::AccessMode::kRo; }
  // Writes were lost since it was opened: no flush may succeed any more.
  bool LostWrites() const {
    return shared->sync_failures() !=
           sync_failures_at_open.load(std::memory_order_acquire);
  }
  // The client opens it once more and is about to be told by the verifier.
  void ForgiveLostWrites() const {
    sync_failures_at_open.store(shared->sync_failures(),
                                std::memory_order_release);
  }
};

// One device_id.
class DeviceSlot {
 public:
  const OpenDevice& device() const { return *device_; }
  uint32_t id() const { return id_; }
  // Gives back what Acquire took. Any thread; may end a close.
  void Release();

 private:
  friend class DeviceTable;

  // state_: references below, flags above.
  static constexpr uint64_t kOpen = 1ull << 63;
  static constexpr uint64_t kClosing = 1ull << 62;  // waits for references
  static constexpr uint64_t kEnding = 1ull << 61;   // one thread ends it
  static constexpr uint64_t kInUse = kOpen | kClosing | kEnding;
  static constexpr uint64_t kReferences = kEnding - 1;

  void EndCloseIfIdle();

  std::atomic<uint64_t> state_{0};
  uint32_t id_ = 0;
  // Written while not kInUse, or by the thread that ends the close.
  std::unique_ptr<OpenDevice> device_;
  std::function<void(std::unique_ptr<OpenDevice>)> closed_;
};

class DeviceTable {
 public:
  static constexpr uint32_t kMaxDevices = 4096;

  DeviceTable() = default;
  ~DeviceTable();  // of a session without requests
  DeviceTable(const DeviceTable&) = delete;
  DeviceTable& operator=(const DeviceTable&) = delete;

  // The data path, any thread: the open device with this id, held until
  // Release; null if there is none.
  DeviceSlot* Acquire(uint32_t id);

  // Control, one thread at a time.
  //
  // The lowest free id, or null when there is none left.
  DeviceSlot* Open(std::unique_ptr<OpenDevice> device);
  DeviceSlot* FindByName(absl::string_view name);
  DeviceSlot* FindByKey(const DeviceKey& key);
  // Forbids Acquire and calls `closed` when nobody holds the device any more:
  // in here, or later in the thread that releases it last. False if no such
  // device is open.
  bool Close(uint32_t id,
             std::function<void(std::unique_ptr<OpenDevice>)> closed);
  // Calls `f` with the id of every open device.
  void ForEach(const std::function<void(uint32_t)>& f);

 private:
  static bool IsOpen(const DeviceSlot* slot);

  std::array<std::atomic<DeviceSlot*>, kMaxDevices> slots_{};
};

inline void DeviceSlot::Release() {
  const uint64_t before = state_.fetch_sub(1, std::memory_order_acq_rel);
  if ((before & (kClosing | kReferences)) == (kClosing | 1)) EndCloseIfIdle();
}

inline DeviceSlot* DeviceTable::Acquire(uint32_t id) {
  if (id >= kMaxDevices) return nullptr;
  DeviceSlot* slot = slots_[id].load(std::memory_order_acquire);
  if (slot == nullptr) return nullptr;
  const uint64_t before = slot->state_.fetch_add(1, std::memory_order_acq_rel);
  if ((before & DeviceSlot::kOpen) == 0) {
    slot->Release();
    return nullptr;
  }
  return slot;
}

}  // namespace rnbd::server

#endif  // SERVER_DEVICE_TABLE_H_
