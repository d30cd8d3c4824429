// All registered memory of an in-process fabric, found by key (in iWARP the
// STag; it is lkey and rkey) in constant time. spec/iwarp.md §4.4.
//
// Any thread. A thread that reads or writes registered memory on behalf of a
// peer holds a MrPin meanwhile; Deregister and InvalidateRemote first bar new
// pins, then wait for those that are held. Pins are held for one copy or one
// receive call, never across a wait.
//
// An STag is the slot's index and a random key, scrambled by a bijection with
// random keys of its own, so that STags are sparse and none follows from
// another; a slot comes back only after all that were freed before it.
#ifndef RTRS_FABRIC_REGION_TABLE_H_
#define RTRS_FABRIC_REGION_TABLE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "rtrs/base/mutex.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/fabric.h"

namespace rtrs::fabric {

// A slot of the table. Owned by it.
struct MrSlot {
  // kLive and kRemote, and the number of pins in the low bits.
  std::atomic<uint32_t> state{0};
  // Constant while kLive is set.
  uint32_t key = 0;
  uint32_t access = 0;
  uint32_t pd = 0;
  uint8_t* address = nullptr;
  size_t length = 0;
  uint32_t next_free = 0;
};

// Keeps the memory of a slot from being deregistered.
class MrPin {
 public:
  MrPin() = default;
  explicit MrPin(MrSlot* slot) : slot_(slot) {}
  MrPin(MrPin&& other) noexcept : slot_(other.slot_) { other.slot_ = nullptr; }
  MrPin& operator=(MrPin&& other) noexcept {
    std::swap(slot_, other.slot_);
    return *this;
  }
  ~MrPin() {
    if (slot_ != nullptr) slot_->state.fetch_sub(1, std::memory_order_release);
  }
  bool held() const { return slot_ != nullptr; }

 private:
  MrSlot* slot_ = nullptr;
};

enum class MrCheck {
  kOk,
  kUnknown,    // no such STag, or not valid for this use any more
  kForeignPd,  // of another protection domain
  kNoAccess,   // registered without the right
  kWraps,      // address + length is beyond 2^64
  kBounds,     // not all within the region
};

class RegionTable {
 public:
  explicit RegionTable(Random* random);

  absl::StatusOr<uint32_t> Register(void* address, size_t length,
                                    uint32_t access, uint32_t pd);
  // `stag` from Register, once.
  void Deregister(uint32_t stag);

  // Pins [address, address + length), if `stag` of `pd` holds it with all of
  // `access`. With kRemoteWrite the STag must not have been invalidated.
  MrCheck Pin(uint32_t stag, uint32_t pd, uint64_t address, uint64_t length,
              uint32_t access, MrPin* pin);
  // The same check without a pin.
  MrCheck Check(uint32_t stag, uint32_t pd, uint64_t address, uint64_t length,
                uint32_t access) {
    MrPin pin;
    return Pin(stag, pd, address, length, access, &pin);
  }
  // On behalf of the peer (SEND with invalidate): ends remote access. kNoAccess
  // if the region never gave any.
  MrCheck InvalidateRemote(uint32_t stag, uint32_t pd);

 private:
  static constexpr uint32_t kIndexBits = 18;
  static constexpr uint32_t kKeyBits = 32 - kIndexBits;
  static constexpr uint32_t kChunkBits = 12;
  static constexpr uint32_t kChunkSize = 1 << kChunkBits;
  static constexpr uint32_t kChunks = 1 << (kIndexBits - kChunkBits);
  static constexpr uint32_t kLive = 0x80000000;
  static constexpr uint32_t kRemote = 0x40000000;
  static constexpr uint32_t kPins = 0x3fffffff;
  static constexpr uint32_t kNone = ~uint32_t{0};

  using Chunk = std::array<MrSlot, kChunkSize>;

  uint32_t Scramble(uint32_t v) const;
  uint32_t Unscramble(uint32_t stag) const;
  // nullptr if there was never a slot of that index.
  MrSlot* SlotOf(uint32_t stag, uint32_t* key) const;
  static void WaitUnpinned(const MrSlot& slot);
  absl::StatusOr<uint32_t> TakeSlot() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Random* random_;
  uint32_t add_;
  uint32_t multiply_[2];
  uint32_t inverse_[2];
  std::array<std::atomic<Chunk*>, kChunks> chunks_{};

  Mutex mutex_;
  std::array<std::unique_ptr<Chunk>, kChunks> owned_ ABSL_GUARDED_BY(mutex_);
  uint32_t used_ ABSL_GUARDED_BY(mutex_) = 0;  // slots ever handed out
  // The free list: taken at the head, given back at the tail.
  uint32_t free_head_ ABSL_GUARDED_BY(mutex_) = kNone;
  uint32_t free_tail_ ABSL_GUARDED_BY(mutex_) = kNone;
};

}  // namespace rtrs::fabric

#endif  // RTRS_FABRIC_REGION_TABLE_H_
