#include "tests/pcap/ip_packet.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "rtrs/wire/coding.h"

namespace rtrs::pcap {
namespace {

using wire::GetBe;

constexpr uint16_t kEtherIpv4 = 0x0800;
constexpr uint16_t kEtherIpv6 = 0x86dd;
constexpr uint16_t kEtherVlan = 0x8100;
constexpr uint16_t kEtherQinq = 0x88a8;
constexpr uint32_t kLinkNull = 0;
constexpr uint32_t kLinkEthernet = 1;
constexpr uint32_t kLinkRaw = 101;
constexpr uint32_t kLinkCooked = 113;
constexpr uint32_t kLinkIpv4 = 228;
constexpr uint32_t kLinkIpv6 = 229;
constexpr uint32_t kLinkCooked2 = 276;
constexpr size_t kUdpHeader = 8;
constexpr size_t kTcpHeader = 20;

// Bytes in front of the IP header; the size of the frame if there is none.
size_t LinkHeaderSize(const Frame& frame) {
  const std::vector<uint8_t>& b = frame.bytes;
  switch (frame.link_type) {
    case kLinkNull:
      return 4;
    case kLinkRaw:
    case kLinkIpv4:
    case kLinkIpv6:
      return 0;
    case kLinkCooked:
      return 16;
    case kLinkCooked2:
      return 20;
    case kLinkEthernet: {
      size_t at = 12;
      while (b.size() >= at + 2) {
        const uint16_t type = GetBe<uint16_t>(b.data() + at);
        if (type == kEtherIpv4 || type == kEtherIpv6) return at + 2;
        if (type != kEtherVlan && type != kEtherQinq) break;
        at += 4;
      }
      return b.size();
    }
    default:
      return b.size();
  }
}

SocketAddress Ipv4Address(const uint8_t* bytes) {
  sockaddr_in sin{};
  sin.sin_family = AF_INET;
  std::memcpy(&sin.sin_addr, bytes, 4);
  return *SocketAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&sin),
                                      sizeof(sin));
}

SocketAddress Ipv6Address(const uint8_t* bytes) {
  sockaddr_in6 sin6{};
  sin6.sin6_family = AF_INET6;
  std::memcpy(&sin6.sin6_addr, bytes, 16);
  return *SocketAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&sin6),
                                      sizeof(sin6));
}

// Takes the IP header off `ip`; returns the protocol, or -1.
int ParseIp(absl::Span<const uint8_t>* ip, IpPacket* packet) {
  if (ip->empty()) return -1;
  const uint8_t* p = ip->data();
  size_t header = 0;
  size_t total = 0;
  int protocol = -1;
  if (p[0] >> 4 == 4) {
    header = (p[0] & 15) * size_t{4};
    if (header < 20 || ip->size() < header) return -1;
    constexpr uint16_t kMoreFragmentsOrOffset = 0x3fff;
    if ((GetBe<uint16_t>(p + 6) & kMoreFragmentsOrOffset) != 0) return -1;
    total = GetBe<uint16_t>(p + 2);
    packet->ipv4_id = GetBe<uint16_t>(p + 4);
    packet->source = Ipv4Address(p + 12);
    packet->destination = Ipv4Address(p + 16);
    protocol = p[9];
  } else if (p[0] >> 4 == 6) {
    header = 40;
    if (ip->size() < header) return -1;
    total = header + GetBe<uint16_t>(p + 4);
    packet->source = Ipv6Address(p + 8);
    packet->destination = Ipv6Address(p + 24);
    protocol = p[6];
  } else {
    return -1;
  }
  // Segmentation offload leaves the length 0 in captures of large packets.
  if (total <= header) total = ip->size();
  packet->truncated = ip->size() < total;
  *ip = ip->subspan(header, std::min(total, ip->size()) - header);
  return protocol;
}

}  // namespace

std::optional<IpPacket> ParseFrame(const Frame& frame) {
  const size_t link_header = LinkHeaderSize(frame);
  if (frame.bytes.size() < link_header) return std::nullopt;
  absl::Span<const uint8_t> rest =
      absl::MakeConstSpan(frame.bytes).subspan(link_header);
  IpPacket packet;
  const int protocol = ParseIp(&rest, &packet);
  const size_t header = protocol == IPPROTO_UDP   ? kUdpHeader
                        : protocol == IPPROTO_TCP ? kTcpHeader
                                                  : rest.size() + 1;
  if (rest.size() < header) return std::nullopt;
  packet.source.set_port(GetBe<uint16_t>(rest.data()));
  packet.destination.set_port(GetBe<uint16_t>(rest.data() + 2));
  if (protocol == IPPROTO_UDP) {
    packet.payload = rest.subspan(kUdpHeader);
    return packet;
  }
  packet.tcp = true;
  packet.sequence = GetBe<uint32_t>(rest.data() + 4);
  const size_t tcp_header = (rest[12] >> 4) * size_t{4};
  if (tcp_header < kTcpHeader || rest.size() < tcp_header) return std::nullopt;
  const uint8_t flags = rest[13];
  packet.fin = (flags & 0x01) != 0;
  packet.syn = (flags & 0x02) != 0;
  packet.rst = (flags & 0x04) != 0;
  packet.ack = (flags & 0x10) != 0;
  packet.payload = rest.subspan(tcp_header);
  return packet;
}

}  // namespace rtrs::pcap
