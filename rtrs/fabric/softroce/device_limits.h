// What one softroce object can hold, and how long it waits.
#ifndef RTRS_FABRIC_SOFTROCE_DEVICE_LIMITS_H_
#define RTRS_FABRIC_SOFTROCE_DEVICE_LIMITS_H_

#include <cstdint>

#include "absl/time/time.h"

namespace rtrs::softroce {

inline constexpr uint32_t kMaxQpWr = 1 << 16;
inline constexpr uint32_t kMaxSendSge = 32;
inline constexpr uint32_t kMaxCqe = 1 << 22;
inline constexpr uint32_t kMaxInline = 512;
// Far below 2^23 packets, which the sequence numbers can tell apart.
inline constexpr uint64_t kMaxMessageSize = uint64_t{1} << 24;

// Disconnect: for the sends posted before to be acknowledged.
inline constexpr absl::Duration kDrainTimeout = absl::Seconds(2);
// A peer that acknowledges nothing for so long is lost.
inline constexpr absl::Duration kPatience = absl::Seconds(10);

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_DEVICE_LIMITS_H_
