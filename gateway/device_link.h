// What a mapped device and the session that mapped it share: whether the
// server has it open, under which id, and what flush must tell.
//
// The session writes it when the device is opened, lost and opened again; the
// data path reads it without a lock. Any thread.
#ifndef GATEWAY_DEVICE_LINK_H_
#define GATEWAY_DEVICE_LINK_H_

#include <atomic>
#include <cstdint>
#include <optional>

namespace rnbd::gateway {

class DeviceLink {
 public:
  void SetOpen(uint32_t device_id) {
    word_.store(kOpen | device_id, std::memory_order_release);
  }
  // Why it is not open.
  enum class Closed : uint32_t {
    kDisconnected,  // the session has no path
    kRefused,       // the server did not open it again
    kChanged,       // the server opened another device under its name
  };
  void SetClosed(Closed why) {
    word_.store(static_cast<uint32_t>(why), std::memory_order_release);
  }

  // The server's id of the device; none while it is not open there.
  std::optional<uint32_t> device_id() const {
    const uint64_t word = word_.load(std::memory_order_acquire);
    if ((word & kOpen) == 0) return std::nullopt;
    return static_cast<uint32_t>(word);
  }
  // Only while there is no device_id.
  Closed closed() const {
    return static_cast<Closed>(word_.load(std::memory_order_acquire));
  }

  // A write was answered that no flush has covered yet. On the path of every
  // write: a store only when it changes something.
  void NoteUnflushed() {
    if (!unflushed_.load(std::memory_order_relaxed)) {
      unflushed_.store(true, std::memory_order_relaxed);
    }
  }
  // A flush begins: true if there was something to flush. One that fails gives
  // it back with NoteUnflushed.
  bool BeginFlush() { return unflushed_.exchange(false); }

  // The server may have lost what was answered and not flushed.
  void NoteServerLostCache() {
    if (unflushed_.exchange(false)) lost_.store(true);
  }
  // True once after unflushed writes may have been lost: the flush (or FUA
  // write) that asks must fail.
  bool TakeLost() {
    return lost_.load(std::memory_order_relaxed) && lost_.exchange(false);
  }

 private:
  static constexpr uint64_t kOpen = uint64_t{1} << 32;
  std::atomic<uint64_t> word_{0};
  std::atomic<bool> unflushed_{false};
  std::atomic<bool> lost_{false};
};

}  // namespace rnbd::gateway

#endif  // GATEWAY_DEVICE_LINK_H_
