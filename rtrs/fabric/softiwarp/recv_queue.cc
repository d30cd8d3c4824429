#include "rtrs/fabric/softiwarp/recv_queue.h"

#include <bit>

#include "absl/strings/str_cat.h"

namespace rtrs::fabric::softiwarp {

RecvQueue::RecvQueue(RegionTable* table, uint32_t pd, Cq* cq, QueuePair* qp,
                     uint32_t max_wr)
    : table_(table),
      pd_(pd),
      cq_(cq),
      qp_(qp),
      max_wr_(max_wr),
      ring_(std::bit_ceil(uint64_t{max_wr} + 1)),
      mask_(ring_.size() - 1) {}

absl::Status RecvQueue::Post(absl::Span<const RecvWr> list) {
  if (list.size() > max_wr_ - slots_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("receive queue full: ", slots_, " of ", max_wr_,
                     " in use, ", list.size(), " more posted"));
  }
  for (const RecvWr& wr : list) {
    if (wr.length > 0 &&
        table_->Check(wr.lkey, pd_, reinterpret_cast<uint64_t>(wr.address),
                      wr.length, kLocalWrite) != MrCheck::kOk) {
      return absl::InvalidArgumentError(
          absl::StrCat("receive of ", wr.length,
                       " bytes: not in writable memory of lkey ", wr.lkey));
    }
  }
  for (const RecvWr& wr : list) ring_[tail_++ & mask_] = wr;
  slots_ += static_cast<uint32_t>(list.size());
  return absl::OkStatus();
}

bool RecvQueue::Complete(WorkCompletion wc) {
  wc.wr_id = front().wr_id;
  wc.qp = qp_;
  ++head_;
  return cq_->Push(wc, &slots_, 1);
}

void RecvQueue::Flush() {
  while (!empty()) {
    WorkCompletion wc;
    wc.status = WcStatus::kFlushed;
    wc.opcode = WcOpcode::kRecv;
    if (!Complete(wc)) --slots_;
  }
}

}  // namespace rtrs::fabric::softiwarp
