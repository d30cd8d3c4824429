#include "gateway/rmw_guard.h"

#include <algorithm>

#include "rtrs/base/mutex.h"

namespace rnbd::gateway {
namespace {

bool Overlap(const ByteRange& a, const ByteRange& b) {
  return a.begin < b.end && b.begin < a.end;
}

}  // namespace

RmwGuard::Lock::Lock(RmwGuard* guard, uint64_t begin, uint64_t end, Kind kind)
    : guard_(guard), range_{begin, end}, kind_(kind) {
  rtrs::MutexLock lock(&guard_->mu_);
  while (guard_->Overlaps(range_)) guard_->released_.Wait(&guard_->mu_);
  guard_->held_.push_back({range_, kind_});
  if (kind_ == kRmw) {
    const uint64_t word = guard_->word_.load(std::memory_order_relaxed);
    guard_->SetWord(Started(word) + 1, Finished(word));
  }
}

RmwGuard::Lock::~Lock() {
  rtrs::MutexLock lock(&guard_->mu_);
  std::vector<Held>& held = guard_->held_;
  // Held ranges do not overlap, so the begin names one.
  const auto it = std::find_if(held.begin(), held.end(), [this](const Held& h) {
    return h.range.begin == range_.begin;
  });
  *it = held.back();
  held.pop_back();
  if (kind_ == kRmw) {
    const uint64_t word = guard_->word_.load(std::memory_order_relaxed);
    guard_->history_[Finished(word) % kHistory] = range_;
    guard_->SetWord(Started(word), Finished(word) + 1);
  }
  guard_->released_.SignalAll();
}

void RmwGuard::SetWord(uint32_t started, uint32_t finished) {
  // Sequentially consistent: ordered before the read that the lock is for.
  word_.store(uint64_t{started} << 32 | finished);
}

bool RmwGuard::Overlaps(ByteRange range) const {
  return std::any_of(held_.begin(), held_.end(), [range](const Held& h) {
    return Overlap(h.range, range);
  });
}

bool RmwGuard::DisturbedSlow(uint64_t seen, uint64_t begin,
                             uint64_t end) const {
  const ByteRange range{begin, end};
  rtrs::MutexLock lock(&mu_);
  for (const Held& h : held_) {
    if (h.kind == kRmw && Overlap(h.range, range)) return true;
  }
  const uint32_t finished = Finished(word_.load(std::memory_order_relaxed));
  uint32_t since = finished - Finished(seen);
  if (since > kHistory) return true;
  for (; since > 0; --since) {
    if (Overlap(history_[(finished - since) % kHistory], range)) return true;
  }
  return false;
}

}  // namespace rnbd::gateway
