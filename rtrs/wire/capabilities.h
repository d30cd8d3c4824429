// What our own ends tell each other in the reserved bytes of the connect
// request and response. Kernel peers send zeros there and ignore them; nothing
// here is used towards a peer that did not announce it.
//
// Layout, 8 bytes: at offset 45 of the connect request (the reserved bytes
// that follow first_conn) and at offset 20 of the response:
//
//   +0  4  "RNU1", so that zeros or a foreign extension are not misread
//   +4  4  bits, LE, see below; unknown bits are ignored
#ifndef RTRS_WIRE_CAPABILITIES_H_
#define RTRS_WIRE_CAPABILITIES_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace rtrs::wire {

struct Capabilities {
  static constexpr size_t kSize = 8;
  // The server confirms that a dead path can execute nothing more: FENCE and
  // FENCE_DONE of immediate.h. Announced by both ends or not used.
  static constexpr uint32_t kFence = 0x1;
  // OPEN_RSP carries a write verifier (rnbd_messages.h).
  static constexpr uint32_t kWriteVerifier = 0x2;
  // Operation 5 is write zeroes, whatever slot 20 may mean elsewhere; NOUNMAP
  // and PREFLUSH are honoured.
  static constexpr uint32_t kWriteZeroes = 0x4;
  // The server says when a device that is open there has changed its size:
  // NOTICE and NOTICE_ACK of immediate.h, with the payload of
  // rnbd_messages.h. Announced by both ends or not used.
  static constexpr uint32_t kNotice = 0x8;

  uint32_t bits = 0;

  bool Has(uint32_t bit) const { return (bits & bit) != 0; }
  friend bool operator==(const Capabilities&, const Capabilities&) = default;
};

// Writes kSize bytes; all zero when no bit is set.
void EncodeCapabilities(const Capabilities& v, uint8_t* out);
// No bits when the mark is missing. `bytes` has at least kSize bytes.
Capabilities DecodeCapabilities(absl::Span<const uint8_t> bytes);

}  // namespace rtrs::wire

#endif  // RTRS_WIRE_CAPABILITIES_H_
