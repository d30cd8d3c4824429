// What a mapped device and the session that mapped it share: whether the
// server has it open, under which id, its size, and what flush must tell.
//
// The session writes it when the device is opened, lost, opened again and
// resized; the data path reads it without a lock, and waits here while it is
// not open. Any thread.
#ifndef GATEWAY_DEVICE_LINK_H_
#define GATEWAY_DEVICE_LINK_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "rtrs/base/mutex.h"

namespace rnbd::gateway {

class DeviceLink {
 public:
  // The device as the server knows it, in one life of the session
  // (rtrs::client::Session::generation).
  struct Opened {
    uint32_t device_id = 0;
    uint32_t generation = 0;  // 31 bits are kept, which is lives enough
  };
  // From now on: bytes of one request, and of the whole device.
  void SetOpen(const Opened& opened, uint32_t max_io_size, uint64_t size) {
    max_io_size_.store(max_io_size, std::memory_order_relaxed);
    size_.store(size, std::memory_order_relaxed);
    Set(kOpen | uint64_t{opened.generation & kGenerationMask} << 32 |
            opened.device_id,
        "");
  }
  // Why it is not open.
  enum class Closed : uint32_t {
    kDisconnected,  // the session has no path
    kRefused,       // the server did not open it again; it is asked again
    kChanged,       // the server has another device under its name: for good
  };
  void SetClosed(Closed why, std::string reason) {
    Set(static_cast<uint32_t>(why), std::move(reason));
  }

  // None while the server does not have it open.
  std::optional<Opened> opened() const {
    const uint64_t word = word_.load(std::memory_order_acquire);
    if ((word & kOpen) == 0) return std::nullopt;
    return Opened{static_cast<uint32_t>(word),
                  static_cast<uint32_t>(word >> 32) & kGenerationMask};
  }
  // Only while it is not open.
  Closed closed() const {
    return static_cast<Closed>(word_.load(std::memory_order_acquire));
  }
  std::string reason() const {
    rtrs::MutexLock lock(&mu_);
    return reason_;
  }
  uint32_t max_io_size() const {
    return max_io_size_.load(std::memory_order_relaxed);
  }
  // Bytes, as the server said last; changes while the device is in use.
  uint64_t size() const { return size_.load(std::memory_order_relaxed); }

  // Waits until the device is open in another life of the session than
  // `generation` (0: in any), or will never be. False: not before `deadline`,
  // in the time of absl::Now.
  bool WaitOpen(uint32_t generation, absl::Time deadline) const {
    rtrs::MutexLock lock(&mu_);
    for (;;) {
      const std::optional<Opened> now = opened();
      if (now.has_value() ? now->generation != generation
                          : closed() == Closed::kChanged) {
        return true;
      }
      if (absl::Now() >= deadline) return false;
      changed_.WaitWithDeadline(&mu_, deadline);
    }
  }

  // Flush never lies: bytes that were answered and not flushed are counted,
  // and become lost ones when the server may have lost them. `losses` is the
  // number of such losses from before the request was sent: an answer that
  // came before a loss may be counted after it.
  uint32_t losses() const { return losses_.load(); }
  void NoteUnflushed(uint64_t bytes, uint32_t losses) {
    unflushed_.fetch_add(bytes);
    if (losses_.load() != losses) lost_.fetch_add(unflushed_.exchange(0));
  }
  // A flush begins: the bytes that it covers. One that fails gives them back
  // with NoteUnflushed, one that did not reach the server which answered them
  // with NoteLost.
  uint64_t BeginFlush() { return unflushed_.exchange(0); }
  void NoteLost(uint64_t bytes) { lost_.fetch_add(bytes); }
  // The server may have lost what was answered and not flushed.
  void NoteServerLostCache() {
    losses_.fetch_add(1);
    lost_.fetch_add(unflushed_.exchange(0));
  }
  // The bytes that may be lost, once: the flush (or FUA write) that asks must
  // fail if there are any.
  uint64_t TakeLost() {
    return lost_.load(std::memory_order_relaxed) == 0 ? 0 : lost_.exchange(0);
  }

 private:
  static constexpr uint64_t kOpen = uint64_t{1} << 63;
  static constexpr uint32_t kGenerationMask = (1u << 31) - 1;

  void Set(uint64_t word, std::string reason) {
    rtrs::MutexLock lock(&mu_);
    reason_ = std::move(reason);
    word_.store(word, std::memory_order_release);
    changed_.SignalAll();
  }

  std::atomic<uint64_t> word_{0};
  std::atomic<uint32_t> max_io_size_{0};
  std::atomic<uint64_t> size_{0};
  mutable rtrs::Mutex mu_;
  mutable rtrs::CondVar changed_;
  std::string reason_ ABSL_GUARDED_BY(mu_);
  // Bytes; sequentially consistent, for the order of answer and loss.
  std::atomic<uint64_t> unflushed_{0};
  std::atomic<uint64_t> lost_{0};
  std::atomic<uint32_t> losses_{0};
};

}  // namespace rnbd::gateway

#endif  // GATEWAY_DEVICE_LINK_H_
