// RDMAP Terminate messages: codes, payload, what a received one means.
// spec/iwarp.md §6. Pure functions.
#ifndef RTRS_FABRIC_SOFTIWARP_TERMINATE_H_
#define RTRS_FABRIC_SOFTIWARP_TERMINATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/fabric/work_request.h"

namespace rtrs::fabric::softiwarp {

// Layer (0 RDMAP, 1 DDP, 2 MPA) and error type in the high and low nibble of
// the first byte, as on the wire.
struct TerminateCode {
  uint8_t layer_type = 0;
  uint8_t code = 0;
  friend bool operator==(const TerminateCode&, const TerminateCode&) = default;
};

inline constexpr TerminateCode kLocalCatastrophic{0x00, 0x00};
inline constexpr TerminateCode kInvalidateForeignStag{0x01, 0x03};
inline constexpr TerminateCode kInvalidateRefused{0x01, 0x09};
inline constexpr TerminateCode kRdmapVersion{0x02, 0x05};
inline constexpr TerminateCode kUnexpectedOpcode{0x02, 0x06};
inline constexpr TerminateCode kInvalidateUnknownStag{0x02, 0x09};
inline constexpr TerminateCode kRdmapUnspecified{0x02, 0xff};
inline constexpr TerminateCode kTaggedInvalidStag{0x11, 0x00};
inline constexpr TerminateCode kTaggedBounds{0x11, 0x01};
inline constexpr TerminateCode kTaggedForeignStag{0x11, 0x02};
inline constexpr TerminateCode kTaggedOffsetWrap{0x11, 0x03};
inline constexpr TerminateCode kTaggedDdpVersion{0x11, 0x04};
inline constexpr TerminateCode kUntaggedQueueNumber{0x12, 0x01};
inline constexpr TerminateCode kUntaggedNoBuffer{0x12, 0x02};
inline constexpr TerminateCode kUntaggedMsnRange{0x12, 0x03};
inline constexpr TerminateCode kUntaggedOffset{0x12, 0x04};
inline constexpr TerminateCode kUntaggedTooLong{0x12, 0x05};
inline constexpr TerminateCode kUntaggedDdpVersion{0x12, 0x06};
inline constexpr TerminateCode kMpaCrc{0x20, 0x02};
inline constexpr TerminateCode kMpaNoMatchingRtr{0x20, 0x07};

// "1/1/00 invalid STag".
std::string TerminateName(TerminateCode code);

// The payload for `code`. `offender` is the ULPDU_Length field and DDP header
// of the segment at fault, 2 + 14 or 2 + 18 bytes, or empty.
std::vector<uint8_t> EncodeTerminate(TerminateCode code,
                                     absl::Span<const uint8_t> offender);

struct Terminate {
  TerminateCode code;
  std::vector<uint8_t> offender;  // length field and DDP header, or empty
};

// Never fails: a truncated or senseless payload gives what can be read of it.
Terminate ParseTerminate(absl::Span<const uint8_t> payload);

// The completion status of a work request that made the peer say `code`.
WcStatus WcStatusOf(TerminateCode code);

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_TERMINATE_H_
