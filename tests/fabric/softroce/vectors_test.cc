// Packets that Linux 6.1 sent (tests/data/vectors/pkt-*.hex): parsed, their
// ICRC checked and the identification found, the same bytes encoded again.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "rtrs/fabric/softroce/cm_messages.h"
#include "rtrs/fabric/softroce/icrc.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/wire/coding.h"

namespace rtrs::softroce {
namespace {

struct Datagram {
  SocketAddress source;
  SocketAddress destination;
  uint16_t ip_id = 0;
  std::vector<uint8_t> payload;  // of UDP
};

std::vector<uint8_t> ReadHex(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string hex;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') hex += line;
  }
  const std::string bytes = absl::HexStringToBytes(hex);
  return {bytes.begin(), bytes.end()};
}

Datagram Split(const std::vector<uint8_t>& packet) {
  Datagram d;
  sockaddr_in source{};
  sockaddr_in destination{};
  source.sin_family = destination.sin_family = AF_INET;
  std::memcpy(&source.sin_addr, packet.data() + 12, 4);
  std::memcpy(&destination.sin_addr, packet.data() + 16, 4);
  std::memcpy(&source.sin_port, packet.data() + 20, 2);
  std::memcpy(&destination.sin_port, packet.data() + 22, 2);
  d.source = *SocketAddress::FromSockaddr(
      reinterpret_cast<const sockaddr*>(&source), sizeof(source));
  d.destination = *SocketAddress::FromSockaddr(
      reinterpret_cast<const sockaddr*>(&destination), sizeof(destination));
  d.ip_id = wire::GetBe<uint16_t>(packet.data() + 4);
  d.payload.assign(packet.begin() + 28, packet.end());
  return d;
}

std::vector<std::filesystem::path> Vectors() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry :
       std::filesystem::directory_iterator(TEST_DATA_DIR "/vectors")) {
    if (entry.path().filename().string().rfind("pkt-", 0) == 0) {
      paths.push_back(entry.path());
    }
  }
  return paths;
}

class Vector : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(Vector, IcrcIsGoodAndTheIdentificationIsFound) {
  const Datagram d = Split(ReadHex(GetParam()));
  const IcrcSeed seed(d.source, d.destination);
  EXPECT_EQ(CheckIcrc(seed, d.payload, d.ip_id), d.ip_id);
  EXPECT_EQ(CheckIcrc(seed, d.payload, 0), d.ip_id) << "solved from 0";
  EXPECT_EQ(CheckIcrc(seed, d.payload, 0xBEEF), d.ip_id);
}

TEST_P(Vector, DamageIsFound) {
  Datagram d = Split(ReadHex(GetParam()));
  const IcrcSeed seed(d.source, d.destination);
  int passed = 0;
  for (size_t i = 0; i < d.payload.size(); ++i) {
    if (i == 4) continue;  // masked: congestion bits
    d.payload[i] ^= 0x10;
    // A wrong identification may be solved for, the right one never fits.
    const std::optional<uint16_t> id = CheckIcrc(seed, d.payload, d.ip_id);
    if (id.has_value()) ++passed;
    EXPECT_NE(id, d.ip_id) << "byte " << i;
    d.payload[i] ^= 0x10;
  }
  EXPECT_LE(passed, 1);
}

TEST_P(Vector, EncodesToTheSameBytes) {
  const Datagram d = Split(ReadHex(GetParam()));
  Packet packet;
  ASSERT_EQ(Parse(d.payload, &packet), ParseError::kNone);
  std::vector<uint8_t> out(d.payload.size());
  uint8_t* p = EncodeBth(packet.bth, out.data());
  const OpcodeInfo& info = *packet.info;
  if (info.Has(OpcodeInfo::kDeth)) p = EncodeDeth(packet.deth, p);
  if (info.Has(OpcodeInfo::kReth)) p = EncodeReth(packet.reth, p);
  if (info.Has(OpcodeInfo::kImm)) p = EncodeImm(packet.imm, p);
  if (info.Has(OpcodeInfo::kIeth)) p = EncodeIeth(packet.invalidate_rkey, p);
  if (info.Has(OpcodeInfo::kAeth)) p = EncodeAeth(packet.aeth, p);
  ASSERT_EQ(p - out.data(), info.header_size);
  if (info.Has(OpcodeInfo::kDeth)) {
    absl::StatusOr<CmDatagram> cm = DecodeCm(packet.payload);
    ASSERT_TRUE(cm.ok()) << cm.status();
    const Mad mad = EncodeCm(*cm);
    std::copy(mad.begin(), mad.end(), p);
  } else {
    std::copy(packet.payload.begin(), packet.payload.end(), p);
  }
  const size_t size = out.size() - kIcrcSize;
  const IcrcSeed seed(d.source, d.destination);
  wire::PutLe<uint32_t>(out.data() + size,
                        Icrc(seed.Headers(out.size(), d.ip_id),
                             absl::MakeConstSpan(out).first(size)));
  EXPECT_EQ(out, d.payload);
}

TEST_P(Vector, EveryTruncationIsRefusedOrStaysInBounds) {
  const Datagram d = Split(ReadHex(GetParam()));
  for (size_t n = 0; n < d.payload.size(); ++n) {
    const std::vector<uint8_t> cut(d.payload.begin(),
                                   d.payload.begin() + static_cast<long>(n));
    Packet packet;
    if (Parse(cut, &packet) == ParseError::kNone) {
      EXPECT_GE(n, packet.info->header_size + packet.payload.size() +
                       packet.bth.pad + kIcrcSize);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Lab, Vector, testing::ValuesIn(Vectors()),
                         [](const auto& param_info) {
                           std::string name = param_info.param.stem().string();
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// roce.md §2, computed by independent programs.
TEST(IcrcTest, Ipv6Ack) {
  const std::string bytes =
      absl::HexStringToBytes("1100ffff00000011001d07101f00000112061064");
  const std::vector<uint8_t> payload(bytes.begin(), bytes.end());
  const auto source = SocketAddress::Parse("fd77::1", 0xc123);
  const auto destination = SocketAddress::Parse("fd77::2", kUdpPort);
  const IcrcSeed seed(*source, *destination);
  EXPECT_TRUE(CheckIcrc(seed, payload, 0).has_value());
}

TEST(PacketTest, PsnComparesAcrossTheWrap) {
  EXPECT_LT(ComparePsn(0xFFFFFF, 0), 0);
  EXPECT_GT(ComparePsn(0, 0xFFFFFF), 0);
  EXPECT_EQ(ComparePsn(5, 5), 0);
  EXPECT_EQ(AddPsn(0xFFFFFF, 2), 1u);
}

// anchors C2, rxe a: a 48-byte packet to the multicast queue pair.
TEST(PacketTest, MulticastQpnIsRefused) {
  std::vector<uint8_t> bytes(48);
  Bth bth;
  bth.opcode = static_cast<uint8_t>(Opcode::kSendOnly);
  bth.dest_qpn = kMulticastQpn;
  EncodeBth(bth, bytes.data());
  Packet packet;
  EXPECT_EQ(Parse(bytes, &packet), ParseError::kBadQpn);
}

TEST(PacketTest, PadThatDoesNotFitIsRefused) {
  std::vector<uint8_t> bytes(kBthSize + kIcrcSize + 2);
  Bth bth;
  bth.opcode = static_cast<uint8_t>(Opcode::kSendOnly);
  bth.dest_qpn = 17;
  bth.pad = 3;
  EncodeBth(bth, bytes.data());
  Packet packet;
  EXPECT_EQ(Parse(bytes, &packet), ParseError::kTruncated);
}

TEST(PacketTest, UnknownOpcodesAreRefused) {
  for (int opcode : {0x0D, 0x12, 0x15, 0x18, 0x20, 0x65, 0x81, 0xFF}) {
    std::vector<uint8_t> bytes(64);
    Bth bth;
    bth.opcode = static_cast<uint8_t>(opcode);
    bth.dest_qpn = 17;
    EncodeBth(bth, bytes.data());
    Packet packet;
    EXPECT_EQ(Parse(bytes, &packet), ParseError::kUnknownOpcode) << opcode;
  }
}

}  // namespace
}  // namespace rtrs::softroce
