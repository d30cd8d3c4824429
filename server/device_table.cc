#include "server/device_table.h"

#include <utility>

namespace rnbd::server {

OpenDevice::~OpenDevice() {
  if (size_watch != nullptr) size_watch->Remove(this);
  backing.reset();
  LeaveRegistry();
}

void OpenDevice::LeaveRegistry() {
  if (shared == nullptr) return;
  registry->Release(shared, mode, session_name);
  shared.reset();
}

// The exchange lets exactly one thread end the close: a late Acquire, which
// finds the slot not open, may bring the count to zero a second time.
void DeviceSlot::EndCloseIfIdle() {
  uint64_t expected = kClosing;
  if (!state_.compare_exchange_strong(expected, kEnding,
                                      std::memory_order_acq_rel)) {
    return;
  }
  std::unique_ptr<OpenDevice> device = std::move(device_);
  auto closed = std::exchange(closed_, nullptr);
  state_.fetch_and(kReferences, std::memory_order_release);
  closed(std::move(device));
}

DeviceTable::~DeviceTable() {
  for (auto& slot : slots_) delete slot.load(std::memory_order_acquire);
}

bool DeviceTable::IsOpen(const DeviceSlot* slot) {
  return slot != nullptr && (slot->state_.load(std::memory_order_acquire) &
                             DeviceSlot::kOpen) != 0;
}

DeviceSlot* DeviceTable::Open(std::unique_ptr<OpenDevice> device) {
  for (uint32_t id = 0; id < kMaxDevices; ++id) {
    DeviceSlot* slot = slots_[id].load(std::memory_order_relaxed);
    if (slot == nullptr) {
      slot = new DeviceSlot;
      slot->id_ = id;
      slots_[id].store(slot, std::memory_order_release);
    } else if ((slot->state_.load(std::memory_order_acquire) &
                DeviceSlot::kInUse) != 0) {
      continue;
    }
    slot->device_ = std::move(device);
    slot->state_.fetch_or(DeviceSlot::kOpen, std::memory_order_release);
    return slot;
  }
  return nullptr;
}

DeviceSlot* DeviceTable::FindByName(absl::string_view name) {
  for (auto& entry : slots_) {
    DeviceSlot* slot = entry.load(std::memory_order_relaxed);
    if (slot == nullptr) break;
    if (IsOpen(slot) && slot->device_->name == name) return slot;
  }
  return nullptr;
}

DeviceSlot* DeviceTable::FindByKey(const DeviceKey& key) {
  for (auto& entry : slots_) {
    DeviceSlot* slot = entry.load(std::memory_order_relaxed);
    if (slot == nullptr) break;
    if (IsOpen(slot) && slot->device_->shared->key() == key) return slot;
  }
  return nullptr;
}

bool DeviceTable::Close(
    uint32_t id, std::function<void(std::unique_ptr<OpenDevice>)> closed) {
  DeviceSlot* slot =
      id < kMaxDevices ? slots_[id].load(std::memory_order_acquire) : nullptr;
  if (!IsOpen(slot)) return false;
  slot->closed_ = std::move(closed);
  slot->state_.fetch_xor(DeviceSlot::kOpen | DeviceSlot::kClosing,
                         std::memory_order_acq_rel);
  slot->EndCloseIfIdle();
  return true;
}

void DeviceTable::ForEach(const std::function<void(uint32_t)>& f) {
  for (auto& entry : slots_) {
    const DeviceSlot* slot = entry.load(std::memory_order_relaxed);
    if (slot == nullptr) break;
    if (IsOpen(slot)) f(slot->id_);
  }
}

}  // namespace rnbd::server
