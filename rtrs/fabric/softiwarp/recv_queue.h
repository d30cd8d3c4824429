// The posted receives of a queue pair, a ring of fixed size. One thread.
#ifndef RTRS_FABRIC_SOFTIWARP_RECV_QUEUE_H_
#define RTRS_FABRIC_SOFTIWARP_RECV_QUEUE_H_

#include <cstdint>
#include <vector>

#include "rtrs/fabric/completion_queue.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/posting_checks.h"
#include "rtrs/fabric/region_table.h"

namespace rtrs::fabric::softiwarp {

class RecvQueue {
 public:
  // All pointers outlive it.
  RecvQueue(RegionTable* table, uint32_t pd, Cq* cq, QueuePair* qp,
            uint32_t max_wr);

  absl::Status Post(absl::Span<const RecvWr> list);
  bool empty() const { return head_ == tail_; }
  const RecvWr& front() const { return ring_[head_ & mask_]; }
  // Completes the oldest receive. False if the completion queue is full.
  bool Complete(WorkCompletion wc);
  // Completes all with kFlushed.
  void Flush();

 private:
  const RecvQueueLimits limits_;
  Cq* cq_;
  QueuePair* qp_;
  uint32_t slots_ = 0;  // posted, and not polled yet
  uint64_t head_ = 0;
  uint64_t tail_ = 0;
  std::vector<RecvWr> ring_;
  uint64_t mask_;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_RECV_QUEUE_H_
