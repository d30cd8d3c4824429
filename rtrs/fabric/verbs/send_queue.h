// The software half of a send queue: the accounting of its slots, and the
// batch of requests that wait for the doorbell. No verbs are called here.
#ifndef RTRS_FABRIC_VERBS_SEND_QUEUE_H_
#define RTRS_FABRIC_VERBS_SEND_QUEUE_H_

#include <infiniband/verbs.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "rtrs/fabric/work_request.h"

namespace rtrs::fabric::verbs {

// Positions of outstanding requests. A signalled completion frees the slots up
// to its own.
class SendSlots {
 public:
  explicit SendSlots(uint32_t capacity) : signalled_(capacity) {}
  uint64_t used() const { return posted_ - freed_; }
  uint64_t free() const { return signalled_.size() - used(); }
  // One request was posted. The caller has made sure that a slot is free.
  void Post(bool is_signalled);
  // The oldest signalled request has completed. Ignored when there is none.
  void Complete();

 private:
  std::vector<uint64_t> signalled_;  // ring of positions
  uint64_t posted_ = 0;
  uint64_t freed_ = 0;
  uint64_t first_ = 0;  // oldest signalled one, index of the ring
  uint64_t last_ = 0;
};

class SendQueue {
 public:
  // Most requests handed to the device at once.
  static constexpr uint32_t kBatch = 32;

  SendQueue(uint32_t slots, uint32_t max_sge, uint32_t max_inline);

  SendSlots& slots() { return slots_; }

  // InvalidArgument when `wr` has more entries or inline bytes than fit.
  absl::Status Check(const SendWr& wr) const;
  // Appends to the batch, which must not be full. With `copy_inline` the bytes
  // of inline data are copied; otherwise they are read at the post, which must
  // then follow before the caller goes on.
  void Append(const SendWr& wr, bool copy_inline);
  bool full() const { return count_ == kBatch; }
  bool empty() const { return count_ == 0; }
  // The batch as one list, empty afterwards. Valid until the next Append.
  ibv_send_wr* Take();

 private:
  SendSlots slots_;
  const uint32_t max_sge_;
  const uint32_t max_inline_;
  uint32_t count_ = 0;
  std::vector<ibv_send_wr> wrs_;
  std::vector<ibv_sge> sges_;
  std::vector<uint8_t> inline_data_;
};

}  // namespace rtrs::fabric::verbs

#endif  // RTRS_FABRIC_VERBS_SEND_QUEUE_H_
