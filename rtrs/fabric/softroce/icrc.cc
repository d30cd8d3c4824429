#include "rtrs/fabric/softroce/icrc.h"

#include <array>
#include <cstring>

#include "rtrs/fabric/softroce/crc32.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/wire/coding.h"

namespace rtrs::softroce {
namespace {

using wire::GetLe;
using wire::PutBe;

constexpr size_t kLrhSize = 8;
constexpr size_t kIpv4Size = 20;
constexpr size_t kIpv6Size = 40;
constexpr size_t kUdpSize = 8;
constexpr size_t kIpv4IdOffset = 4;

// a * b modulo the polynomial, both reflected.
constexpr uint32_t Multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (int i = 31; i >= 0; --i) {
    if ((a >> i) & 1) product ^= b;
    b = (b >> 1) ^ ((b & 1) ? kCrc32Polynomial : 0);
  }
  return product;
}

// x^(-8 * 2^i) for each i: what undoes 2^i bytes.
constexpr std::array<uint32_t, 16> kUndoBytes = [] {
  // Dividing by x: shift left, and put the polynomial back where x^0 was.
  uint32_t v = 0x80000000;
  for (int i = 0; i < 8; ++i) {
    const bool constant = (v & 0x80000000) != 0;
    v = (constant ? v ^ kCrc32Polynomial : v);
    v = (v << 1) | (constant ? 1 : 0);
  }
  std::array<uint32_t, 16> table{};
  for (uint32_t& entry : table) {
    entry = v;
    v = Multiply(v, v);
  }
  return table;
}();

void PutAddress(const SocketAddress& address, uint8_t* out) {
  if (address.family() == AF_INET) {
    std::memcpy(out,
                &reinterpret_cast<const sockaddr_in*>(address.addr())->sin_addr,
                4);
  } else {
    std::memcpy(
        out, &reinterpret_cast<const sockaddr_in6*>(address.addr())->sin6_addr,
        16);
  }
}

}  // namespace

IcrcSeed::IcrcSeed(const SocketAddress& source,
                   const SocketAddress& destination)
    : ipv4_(source.family() == AF_INET) {
  std::memset(pseudo_, 0, sizeof(pseudo_));
  std::memset(pseudo_, 0xFF, kLrhSize);
  uint8_t* ip = pseudo_ + kLrhSize;
  uint8_t* udp = ip + (ipv4_ ? kIpv4Size : kIpv6Size);
  if (ipv4_) {
    ip[0] = 0x45;
    ip[1] = 0xFF;  // type of service
    ip[6] = 0x40;  // do not fragment
    ip[8] = 0xFF;  // time to live
    ip[9] = IPPROTO_UDP;
    ip[10] = ip[11] = 0xFF;  // header checksum
    PutAddress(source, ip + 12);
    PutAddress(destination, ip + 16);
  } else {
    ip[0] = 0x6F;  // traffic class and flow label are masked
    ip[1] = ip[2] = ip[3] = 0xFF;
    ip[6] = IPPROTO_UDP;
    ip[7] = 0xFF;  // hop limit
    PutAddress(source, ip + 8);
    PutAddress(destination, ip + 24);
  }
  PutBe<uint16_t>(udp, source.port());
  PutBe<uint16_t>(udp + 2, destination.port());
  udp[6] = udp[7] = 0xFF;  // checksum
}

uint32_t IcrcSeed::Headers(size_t udp_payload_size, uint16_t id) const {
  uint8_t pseudo[sizeof(pseudo_)];
  std::memcpy(pseudo, pseudo_, sizeof(pseudo));
  uint8_t* ip = pseudo + kLrhSize;
  const size_t ip_size = ipv4_ ? kIpv4Size : kIpv6Size;
  const auto udp_size = static_cast<uint16_t>(kUdpSize + udp_payload_size);
  if (ipv4_) {
    PutBe<uint16_t>(ip + 2, static_cast<uint16_t>(kIpv4Size + udp_size));
    PutBe<uint16_t>(ip + kIpv4IdOffset, id);
  } else {
    PutBe<uint16_t>(ip + 4, udp_size);
  }
  PutBe<uint16_t>(ip + ip_size + 4, udp_size);
  return Crc32(0, absl::MakeConstSpan(pseudo, kLrhSize + ip_size + kUdpSize));
}

uint32_t Icrc(uint32_t headers, absl::Span<const uint8_t> packet) {
  uint8_t bth[kBthSize];
  std::memcpy(bth, packet.data(), kBthSize);
  bth[4] = 0xFF;
  return Crc32(Crc32(headers, bth), packet.subspan(kBthSize));
}

std::optional<uint16_t> CheckIcrc(const IcrcSeed& seed,
                                  absl::Span<const uint8_t> udp_payload,
                                  uint16_t expected_id) {
  const size_t size = udp_payload.size() - kIcrcSize;
  const uint32_t wire_icrc = GetLe<uint32_t>(udp_payload.data() + size);
  const auto packet = udp_payload.first(size);
  const uint32_t crc =
      Icrc(seed.Headers(udp_payload.size(), expected_id), packet);
  if (crc == wire_icrc) return expected_id;
  if (!seed.is_ipv4()) return std::nullopt;
  // The CRC is linear: the difference is the difference of the identification
  // moved on by all the bytes from it to the end. Moving it back shows it.
  uint32_t difference = crc ^ wire_icrc;
  size_t bytes = kIpv4Size - kIpv4IdOffset + kUdpSize + size;
  for (size_t i = 0; bytes != 0 && i < kUndoBytes.size(); ++i, bytes >>= 1) {
    if (bytes & 1) difference = Multiply(difference, kUndoBytes[i]);
  }
  if ((difference >> 16) != 0) return std::nullopt;
  const auto id_difference =
      static_cast<uint16_t>((difference & 0xFF) << 8 | (difference >> 8));
  return static_cast<uint16_t>(expected_id ^ id_difference);
}

}  // namespace rtrs::softroce
