// What the in-process fabrics check before they make a queue or take a work
// request: sizes against the device and the queue pair, memory against the
// RegionTable. Any thread. Errors: InvalidArgument, or ResourceExhausted when a
// queue is full; they name the value and the limit.
#ifndef RTRS_FABRIC_POSTING_CHECKS_H_
#define RTRS_FABRIC_POSTING_CHECKS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/region_table.h"
#include "rtrs/fabric/work_request.h"

namespace rtrs::fabric {

// What one in-process device can hold; as in DeviceAttr.
struct DeviceLimits {
  uint32_t max_qp_wr;
  uint32_t max_send_sge;
  uint32_t max_cqe;
  uint32_t max_inline;
  uint64_t max_message_size;

  void CopyTo(DeviceAttr* device) const;
};

absl::Status CheckCqInit(const DeviceLimits& limits, uint32_t entries);
absl::Status CheckQpInit(const DeviceLimits& limits, const QueuePairInit& init);

// One queue of a queue pair, as its Init and its protection domain have it.
struct SendQueueLimits {
  RegionTable* table;
  uint32_t pd;
  uint32_t max_wr;
  uint32_t max_sge;
  uint32_t max_inline;
  uint64_t max_message_size;
};
struct RecvQueueLimits {
  RegionTable* table;
  uint32_t pd;
  uint32_t max_wr;
};

// Whether all of `list` may join the `in_use` requests that are in the queue.
absl::Status CheckSends(const SendQueueLimits& limits, uint32_t in_use,
                        absl::Span<const SendWr> list);
absl::Status CheckRecvs(const RecvQueueLimits& limits, uint32_t in_use,
                        absl::Span<const RecvWr> list);

}  // namespace rtrs::fabric

#endif  // RTRS_FABRIC_POSTING_CHECKS_H_
