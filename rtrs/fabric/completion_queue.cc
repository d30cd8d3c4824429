#include "rtrs/fabric/completion_queue.h"

#include <bit>
#include <utility>

namespace rtrs::fabric {

Cq::Cq(uint32_t entries, std::function<void(Cq*)> destroyed)
    : ring_(std::bit_ceil(uint64_t{entries})),
      mask_(ring_.size() - 1),
      entries_(entries),
      destroyed_(std::move(destroyed)) {}

Cq::~Cq() { destroyed_(this); }

int Cq::Poll(absl::Span<WorkCompletion> out) {
  size_t n = 0;
  for (; n < out.size() && head_ != tail_; ++n) {
    const Entry& entry = ring_[head_++ & mask_];
    *entry.slots -= entry.freed;
    out[n] = entry.wc;
  }
  return static_cast<int>(n);
}

bool Cq::Push(const WorkCompletion& wc, uint32_t* slots, uint32_t freed) {
  if (tail_ - head_ == entries_) return false;
  // A short queue stays within few cache lines.
  if (empty()) head_ = tail_ = 0;
  ring_[tail_++ & mask_] = {wc, slots, freed};
  return true;
}

void Cq::Forget(const QueuePair* qp) {
  uint64_t kept = head_;
  for (uint64_t i = head_; i != tail_; ++i) {
    if (ring_[i & mask_].wc.qp == qp) continue;
    if (kept != i) ring_[kept & mask_] = ring_[i & mask_];
    ++kept;
  }
  tail_ = kept;
}

}  // namespace rtrs::fabric
