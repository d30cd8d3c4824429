// The posted sends of a queue pair: a ring of work requests with their
// scatter/gather lists and inline data, all of it allocated once. One thread.
//
// Entries are numbered from 0 without end. Those in [head, tail) are posted
// and not complete; the Transmitter turns them into frames in order.
#ifndef RTRS_FABRIC_SOFTIWARP_SEND_QUEUE_H_
#define RTRS_FABRIC_SOFTIWARP_SEND_QUEUE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "rtrs/fabric/completion_queue.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/posting_checks.h"
#include "rtrs/fabric/region_table.h"

namespace rtrs::fabric::softiwarp {

struct SendEntry {
  uint64_t wr_id = 0;
  uint64_t remote_address = 0;
  uint64_t end = 0;     // position in the stream behind its last byte
  uint32_t length = 0;  // of all of `sges`
  uint32_t rkey = 0;
  uint32_t imm = 0;
  uint32_t invalidate_rkey = 0;
  WrOpcode opcode = WrOpcode::kSend;
  uint8_t flags = 0;
  uint32_t sge_count = 0;
};

class SendQueue {
 public:
  // All pointers outlive it.
  SendQueue(RegionTable* table, uint32_t pd, Cq* cq, QueuePair* qp,
            uint32_t max_wr, uint32_t max_sge, uint32_t max_inline);

  // Takes all of `list` or nothing.
  absl::Status Post(absl::Span<const SendWr> list);

  uint64_t head() const { return head_; }
  uint64_t tail() const { return tail_; }
  bool empty() const { return head_ == tail_; }
  uint32_t max_sge() const { return limits_.max_sge; }
  SendEntry& entry(uint64_t number) { return ring_[IndexOf(number)]; }
  const Sge* sges(uint64_t number) const {
    return &sges_[IndexOf(number) * limits_.max_sge];
  }

  // Completes the oldest entry. False if the completion queue is full.
  bool CompleteFront(WcStatus status);
  // Completes all: the oldest with `first`, the others with kFlushed.
  void Flush(WcStatus first);

 private:
  uint64_t IndexOf(uint64_t number) const { return (number - base_) & mask_; }

  const SendQueueLimits limits_;
  Cq* cq_;
  QueuePair* qp_;
  uint32_t slots_ = 0;       // posted, and no signalled completion polled yet
  uint32_t unsignaled_ = 0;  // completed since the last completion
  uint64_t head_ = 0;
  uint64_t tail_ = 0;
  // The entry in the ring's first place. It moves up whenever the ring is
  // empty, so that short queues stay within few cache lines.
  uint64_t base_ = 0;
  std::vector<SendEntry> ring_;
  std::unique_ptr<Sge[]> sges_;
  std::unique_ptr<uint8_t[]> inline_;
  uint64_t mask_;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_SEND_QUEUE_H_
