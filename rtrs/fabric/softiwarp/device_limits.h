// What one softiwarp object can hold, and how long it waits. spec/iwarp.md
// §1.2, §4.6, §5.4.
#ifndef RTRS_FABRIC_SOFTIWARP_DEVICE_LIMITS_H_
#define RTRS_FABRIC_SOFTIWARP_DEVICE_LIMITS_H_

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "rtrs/fabric/posting_checks.h"

namespace rtrs::fabric::softiwarp {

constexpr DeviceLimits kDeviceLimits = {
    .max_qp_wr = 1 << 19,
    .max_send_sge = 32,
    .max_cqe = 1 << 22,
    .max_inline = 512,
    .max_message_size = uint64_t{1} << 30,
};

// Connections whose Request is not complete, per listener.
constexpr size_t kMaxHalfOpen = 1024;
// From accept to a complete Request.
constexpr absl::Duration kRequestTimeout = absl::Seconds(5);
// From our Reply to the initiator's first FPDU.
constexpr absl::Duration kFirstFpduTimeout = absl::Seconds(10);
// A message waits for a receive to be posted.
constexpr absl::Duration kNoReceiveTimeout = absl::Seconds(2);
// Disconnect: for queued sends to leave, then for the peer to end its half.
constexpr absl::Duration kDrainTimeout = absl::Seconds(5);
// After a Terminate or a rejection: for the peer to end its half.
constexpr absl::Duration kLingerTimeout = absl::Seconds(1);
// A listener that ran out of descriptors tries again.
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_DEVICE_LIMITS_H_
