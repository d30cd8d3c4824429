// What one softroce object can hold, and how long it waits.
#ifndef RTRS_FABRIC_SOFTROCE_DEVICE_LIMITS_H_
#define RTRS_FABRIC_SOFTROCE_DEVICE_LIMITS_H_

#include <cstdint>

#include "absl/time/time.h"
#include "rtrs/fabric/posting_checks.h"

namespace rtrs::softroce {

inline constexpr fabric::DeviceLimits kDeviceLimits = {
    .max_qp_wr = 1 << 16,
    .max_send_sge = 32,
    .max_cqe = 1 << 22,
    .max_inline = 512,
    // Far below 2^23 packets, which the sequence numbers can tell apart.
    .max_message_size = uint64_t{1} << 24,
};

// Disconnect: for the sends posted before to be acknowledged.
inline constexpr absl::Duration kDrainTimeout = absl::Seconds(2);
// A peer that acknowledges nothing for so long is lost.
inline constexpr absl::Duration kPatience = absl::Seconds(10);

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_DEVICE_LIMITS_H_
