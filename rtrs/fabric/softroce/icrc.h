// The invariant CRC of RoCEv2 packets. roce.md §2, §3.
//
// The CRC covers the IP and UDP headers with the fields that routers change
// masked; the IPv4 identification is *not* masked, and a UDP socket does not
// show it on receive. It is found from the CRC itself, which is linear.
#ifndef RTRS_FABRIC_SOFTROCE_ICRC_H_
#define RTRS_FABRIC_SOFTROCE_ICRC_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "rtrs/base/socket_address.h"

namespace rtrs::softroce {

// The part of the ICRC that depends on addresses, ports and length only. One
// per direction of a flow; both addresses are of one family. Immutable, any
// thread.
class IcrcSeed {
 public:
  // `source` and `destination` with their UDP ports, as the packet has them.
  IcrcSeed(const SocketAddress& source, const SocketAddress& destination);

  // CRC register (zlib convention) after the headers, for a UDP payload of
  // `udp_payload_size` bytes, the ICRC included, sent with IPv4 `id` (ignored
  // for IPv6), DF set.
  uint32_t Headers(size_t udp_payload_size, uint16_t id) const;
  bool is_ipv4() const { return ipv4_; }

 private:
  bool ipv4_;
  uint8_t pseudo_[8 + 40 + 8];  // masked LRH, IP and UDP header
};

// The CRC of a whole packet from the register after its headers. `packet` is
// BTH up to, not including, the ICRC; its byte 4 is masked here.
uint32_t Icrc(uint32_t headers, absl::Span<const uint8_t> packet);

// Checks `udp_payload` (BTH up to and including the ICRC). For IPv4,
// `expected_id` is tried first; if it does not fit the identification that
// does is solved for. Returns the identification, or nothing if the packet is
// damaged. 16 of 32 check bits remain when it is solved for.
std::optional<uint16_t> CheckIcrc(const IcrcSeed& seed,
                                  absl::Span<const uint8_t> udp_payload,
                                  uint16_t expected_id);

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_ICRC_H_
