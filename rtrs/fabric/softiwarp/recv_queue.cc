#include "rtrs/fabric/softiwarp/recv_queue.h"

#include <bit>

#include "rtrs/base/status_macros.h"

namespace rtrs::fabric::softiwarp {

RecvQueue::RecvQueue(RegionTable* table, uint32_t pd, Cq* cq, QueuePair* qp,
                     uint32_t max_wr)
    : limits_{table, pd, max_wr},
      cq_(cq),
      qp_(qp),
      ring_(std::bit_ceil(uint64_t{max_wr} + 1)),
      mask_(ring_.size() - 1) {}

absl::Status RecvQueue::Post(absl::Span<const RecvWr> list) {
  RTRS_RETURN_IF_ERROR(CheckRecvs(limits_, slots_, list));
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
