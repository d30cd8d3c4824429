// From a captured frame to the UDP or TCP payload in it: Ethernet with VLAN
// tags, Linux cooked captures, raw IP; IPv4 and IPv6.
#ifndef TESTS_PCAP_IP_PACKET_H_
#define TESTS_PCAP_IP_PACKET_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "rtrs/base/socket_address.h"
#include "tests/pcap/capture_file.h"

namespace rtrs::pcap {

struct IpPacket {
  SocketAddress source;
  SocketAddress destination;
  bool tcp = false;      // else UDP
  uint16_t ipv4_id = 0;  // IPv4
  // TCP only.
  uint32_t sequence = 0;
  bool syn = false;
  bool ack = false;
  bool fin = false;
  bool rst = false;
  // Points into the frame. Shorter than it was sent when the frame is
  // truncated.
  absl::Span<const uint8_t> payload;
  bool truncated = false;
};

// Nothing for other protocols, fragments, and what is too short for its
// headers.
std::optional<IpPacket> ParseFrame(const Frame& frame);

}  // namespace rtrs::pcap

#endif  // TESTS_PCAP_IP_PACKET_H_
