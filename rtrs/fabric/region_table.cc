#include "rtrs/fabric/region_table.h"

#include <errno.h>
#include <sched.h>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"

namespace rtrs::fabric {
namespace {

constexpr unsigned kShift = 15;

// The inverse of an odd number modulo 2^32, by Newton's method.
uint32_t InverseOf(uint32_t odd) {
  uint32_t x = odd;
  for (int i = 0; i < 5; ++i) x *= 2 - odd * x;
  return x;
}

}  // namespace

RegionTable::RegionTable(Random* random)
    : random_(random), add_(random->Uint32()) {
  for (int i = 0; i < 2; ++i) {
    multiply_[i] = random->Uint32() | 1;
    inverse_[i] = InverseOf(multiply_[i]);
  }
}

uint32_t RegionTable::Scramble(uint32_t v) const {
  v = (v + add_) * multiply_[0];
  v ^= v >> kShift;
  return v * multiply_[1];
}

uint32_t RegionTable::Unscramble(uint32_t stag) const {
  uint32_t v = stag * inverse_[1];
  v ^= v >> kShift ^ v >> (2 * kShift);
  return v * inverse_[0] - add_;
}

MrSlot* RegionTable::SlotOf(uint32_t stag, uint32_t* key) const {
  const uint32_t v = Unscramble(stag);
  const uint32_t index = v & ((1 << kIndexBits) - 1);
  *key = v >> kIndexBits;
  Chunk* chunk = chunks_[index >> kChunkBits].load(std::memory_order_acquire);
  return chunk == nullptr ? nullptr : &(*chunk)[index & (kChunkSize - 1)];
}

absl::StatusOr<uint32_t> RegionTable::TakeSlot() {
  // A fresh chunk is used up before anything is used again, so that even a
  // table with few regions does not reuse its STags soon.
  const bool reuse =
      free_head_ != kNone && (used_ & (kChunkSize - 1)) == 0 && used_ > 0;
  if (reuse) {
    const uint32_t index = free_head_;
    const MrSlot& slot =
        (*owned_[index >> kChunkBits])[index & (kChunkSize - 1)];
    free_head_ = slot.next_free;
    if (free_head_ == kNone) free_tail_ = kNone;
    return index;
  }
  if (used_ == uint32_t{1} << kIndexBits) {
    return ErrnoError(
        ENOMEM, absl::StrCat("all ", used_, " memory regions are in use"));
  }
  std::unique_ptr<Chunk>& chunk = owned_[used_ >> kChunkBits];
  if (chunk == nullptr) {
    chunk = std::make_unique<Chunk>();
    chunks_[used_ >> kChunkBits].store(chunk.get(), std::memory_order_release);
  }
  return used_++;
}

absl::StatusOr<uint32_t> RegionTable::Register(void* address, size_t length,
                                               uint32_t access, uint32_t pd) {
  const auto base = reinterpret_cast<uint64_t>(address);
  if (length == 0 || base + length < base) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory region of ", length, " bytes"));
  }
  const uint32_t step = random_->Uint32() >> (32 - kKeyBits + 1);
  uint32_t index;
  {
    MutexLock lock(&mutex_);
    absl::StatusOr<uint32_t> taken = TakeSlot();
    if (!taken.ok()) return taken.status();
    index = *taken;
  }
  MrSlot& slot = (*chunks_[index >> kChunkBits].load(
      std::memory_order_relaxed))[index & (kChunkSize - 1)];
  uint32_t stag;
  do {
    // Never the key of the last time.
    slot.key = (slot.key + step + 1) & ((1 << kKeyBits) - 1);
    stag = Scramble(slot.key << kIndexBits | index);
  } while (stag == 0);
  slot.access = access;
  slot.pd = pd;
  slot.address = static_cast<uint8_t*>(address);
  slot.length = length;
  // Added, not stored: a late Pin for the old key may be counted just now.
  slot.state.fetch_or((access & kRemoteWrite) != 0 ? kLive | kRemote : kLive,
                      std::memory_order_release);
  return stag;
}

void RegionTable::WaitUnpinned(const MrSlot& slot) {
  // Pins last as long as a copy of some kilobytes.
  for (int spins = 0; (slot.state.load(std::memory_order_acquire) & kPins) != 0;
       ++spins) {
    if (spins > 100) sched_yield();
  }
}

void RegionTable::Deregister(uint32_t stag) {
  uint32_t key;
  MrSlot* slot = SlotOf(stag, &key);
  slot->state.fetch_and(kPins, std::memory_order_acq_rel);
  WaitUnpinned(*slot);
  const uint32_t index = Unscramble(stag) & ((1 << kIndexBits) - 1);
  MutexLock lock(&mutex_);
  slot->next_free = kNone;
  if (free_tail_ == kNone) {
    free_head_ = index;
  } else {
    (*owned_[free_tail_ >> kChunkBits])[free_tail_ & (kChunkSize - 1)]
        .next_free = index;
  }
  free_tail_ = index;
}

MrCheck RegionTable::Pin(uint32_t stag, uint32_t pd, uint64_t address,
                         uint64_t length, uint32_t access, MrPin* pin) {
  uint32_t key;
  MrSlot* slot = SlotOf(stag, &key);
  if (slot == nullptr) return MrCheck::kUnknown;
  const uint32_t state = slot->state.fetch_add(1, std::memory_order_acquire);
  MrPin held(slot);
  if ((state & kLive) == 0 || slot->key != key) return MrCheck::kUnknown;
  if (slot->pd != pd) return MrCheck::kForeignPd;
  if ((slot->access & access) != access) return MrCheck::kNoAccess;
  if ((access & kRemoteWrite) != 0 && (state & kRemote) == 0) {
    return MrCheck::kUnknown;
  }
  if (address + length < address) return MrCheck::kWraps;
  const auto base = reinterpret_cast<uint64_t>(slot->address);
  if (address < base || length > slot->length ||
      address - base > slot->length - length) {
    return MrCheck::kBounds;
  }
  *pin = std::move(held);
  return MrCheck::kOk;
}

MrCheck RegionTable::InvalidateRemote(uint32_t stag, uint32_t pd) {
  uint32_t key;
  MrSlot* slot = SlotOf(stag, &key);
  if (slot == nullptr) return MrCheck::kUnknown;
  {
    const uint32_t state = slot->state.fetch_add(1, std::memory_order_acquire);
    const MrPin held(slot);
    if ((state & kLive) == 0 || slot->key != key) return MrCheck::kUnknown;
    if (slot->pd != pd) return MrCheck::kForeignPd;
    if ((slot->access & kRemoteWrite) == 0) return MrCheck::kNoAccess;
    if ((state & kRemote) == 0) return MrCheck::kUnknown;
    slot->state.fetch_and(~kRemote, std::memory_order_acq_rel);
  }
  // Other connections of the domain may be placing into it.
  WaitUnpinned(*slot);
  return MrCheck::kOk;
}

}  // namespace rtrs::fabric
