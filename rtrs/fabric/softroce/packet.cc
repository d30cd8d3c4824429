#include "rtrs/fabric/softroce/packet.h"

#include <array>

#include "rtrs/wire/coding.h"

namespace rtrs::softroce {
namespace {

using Info = OpcodeInfo;
using wire::GetBe;
using wire::PutBe;

constexpr uint8_t HeaderSize(uint16_t bits) {
  size_t size = kBthSize;
  if (bits & Info::kReth) size += kRethSize;
  if (bits & Info::kImm) size += kImmSize;
  if (bits & Info::kIeth) size += kIethSize;
  if (bits & Info::kAeth) size += kAethSize;
  if (bits & Info::kDeth) size += kDethSize;
  return static_cast<uint8_t>(size);
}

struct Row {
  Opcode opcode;
  uint16_t bits;
  const char* name;
};

constexpr Row kRows[] = {
    {Opcode::kSendFirst, Info::kSend | Info::kStart | Info::kReceive,
     "SEND_FIRST"},
    {Opcode::kSendMiddle, Info::kSend, "SEND_MIDDLE"},
    {Opcode::kSendLast, Info::kSend | Info::kEnd, "SEND_LAST"},
    {Opcode::kSendLastImm, Info::kSend | Info::kEnd | Info::kImm,
     "SEND_LAST_IMM"},
    {Opcode::kSendOnly,
     Info::kSend | Info::kStart | Info::kEnd | Info::kReceive, "SEND_ONLY"},
    {Opcode::kSendOnlyImm,
     Info::kSend | Info::kStart | Info::kEnd | Info::kReceive | Info::kImm,
     "SEND_ONLY_IMM"},
    {Opcode::kWriteFirst, Info::kWrite | Info::kStart | Info::kReth,
     "WRITE_FIRST"},
    {Opcode::kWriteMiddle, Info::kWrite, "WRITE_MIDDLE"},
    {Opcode::kWriteLast, Info::kWrite | Info::kEnd, "WRITE_LAST"},
    {Opcode::kWriteLastImm,
     Info::kWrite | Info::kEnd | Info::kReceive | Info::kImm, "WRITE_LAST_IMM"},
    {Opcode::kWriteOnly, Info::kWrite | Info::kStart | Info::kEnd | Info::kReth,
     "WRITE_ONLY"},
    {Opcode::kWriteOnlyImm,
     Info::kWrite | Info::kStart | Info::kEnd | Info::kReceive | Info::kReth |
         Info::kImm,
     "WRITE_ONLY_IMM"},
    {Opcode::kReadRequest, Info::kRefused | Info::kReth, "READ_REQUEST"},
    {Opcode::kAck, Info::kAeth, "ACK"},
    {Opcode::kCompareSwap, Info::kRefused, "COMPARE_SWAP"},
    {Opcode::kFetchAdd, Info::kRefused, "FETCH_ADD"},
    {Opcode::kSendLastInv, Info::kSend | Info::kEnd | Info::kIeth,
     "SEND_LAST_INV"},
    {Opcode::kSendOnlyInv,
     Info::kSend | Info::kStart | Info::kEnd | Info::kReceive | Info::kIeth,
     "SEND_ONLY_INV"},
    {Opcode::kUdSendOnly, Info::kDeth, "UD_SEND_ONLY"},
};

constexpr std::array<OpcodeInfo, 256> kOpcodes = [] {
  std::array<OpcodeInfo, 256> table{};
  for (const Row& row : kRows) {
    table[static_cast<uint8_t>(row.opcode)] = {row.bits, HeaderSize(row.bits),
                                               row.name};
  }
  return table;
}();

uint32_t Get24(const uint8_t* p) { return GetBe<uint32_t>(p) & kPsnMask; }

}  // namespace

const OpcodeInfo* FindOpcode(uint8_t opcode) {
  const OpcodeInfo& info = kOpcodes[opcode];
  return info.name == nullptr ? nullptr : &info;
}

const char* ParseErrorName(ParseError error) {
  switch (error) {
    case ParseError::kNone:
      return "none";
    case ParseError::kTooShort:
      return "too short";
    case ParseError::kUnknownOpcode:
      return "unknown opcode";
    case ParseError::kTruncated:
      return "truncated";
    case ParseError::kVersion:
      return "transport version";
    case ParseError::kPkey:
      return "partition key";
    case ParseError::kBadQpn:
      return "destination queue pair";
  }
  return "unknown";
}

ParseError Parse(absl::Span<const uint8_t> udp_payload, Packet* out) {
  if (udp_payload.size() < kBthSize + kIcrcSize) return ParseError::kTooShort;
  const uint8_t* p = udp_payload.data();
  const OpcodeInfo* info = FindOpcode(p[0]);
  if (info == nullptr) return ParseError::kUnknownOpcode;
  Bth& bth = out->bth;
  bth.opcode = p[0];
  bth.solicited = (p[1] & 0x80) != 0;
  bth.pad = (p[1] >> 4) & 3;
  if (udp_payload.size() < size_t{info->header_size} + bth.pad + kIcrcSize) {
    return ParseError::kTruncated;
  }
  if ((p[1] & 0x0F) != 0) return ParseError::kVersion;
  bth.pkey = GetBe<uint16_t>(p + 2);
  if (bth.pkey != kDefaultPkey) return ParseError::kPkey;
  bth.fecn = (p[4] & 0x80) != 0;
  bth.becn = (p[4] & 0x40) != 0;
  bth.dest_qpn = Get24(p + 4);
  const bool datagram = info->Has(Info::kDeth);
  if (bth.dest_qpn == kMulticastQpn || (bth.dest_qpn == kGsiQpn) != datagram) {
    return ParseError::kBadQpn;
  }
  bth.ack_request = (p[8] & 0x80) != 0;
  bth.psn = Get24(p + 8);
  out->info = info;
  p += kBthSize;
  if (info->Has(Info::kDeth)) {
    out->deth = {GetBe<uint32_t>(p), Get24(p + 4)};
    p += kDethSize;
  }
  if (info->Has(Info::kReth)) {
    out->reth = {GetBe<uint64_t>(p), GetBe<uint32_t>(p + 8),
                 GetBe<uint32_t>(p + 12)};
    p += kRethSize;
  }
  if (info->Has(Info::kImm)) {
    out->imm = GetBe<uint32_t>(p);
    p += kImmSize;
  }
  if (info->Has(Info::kIeth)) {
    out->invalidate_rkey = GetBe<uint32_t>(p);
    p += kIethSize;
  }
  if (info->Has(Info::kAeth)) {
    out->aeth = {p[0], Get24(p)};
    p += kAethSize;
  }
  out->payload = udp_payload.subspan(
      info->header_size,
      udp_payload.size() - info->header_size - bth.pad - kIcrcSize);
  return ParseError::kNone;
}

uint8_t* EncodeBth(const Bth& v, uint8_t* out) {
  out[0] = v.opcode;
  out[1] = static_cast<uint8_t>((v.solicited ? 0x80 : 0) | v.pad << 4);
  PutBe<uint16_t>(out + 2, v.pkey);
  PutBe<uint32_t>(out + 4, v.dest_qpn & kPsnMask);
  out[4] = static_cast<uint8_t>((v.fecn ? 0x80 : 0) | (v.becn ? 0x40 : 0));
  PutBe<uint32_t>(out + 8, v.psn & kPsnMask);
  if (v.ack_request) out[8] = 0x80;
  return out + kBthSize;
}

uint8_t* EncodeReth(const Reth& v, uint8_t* out) {
  PutBe<uint64_t>(out, v.address);
  PutBe<uint32_t>(out + 8, v.rkey);
  PutBe<uint32_t>(out + 12, v.length);
  return out + kRethSize;
}

uint8_t* EncodeImm(uint32_t imm, uint8_t* out) {
  PutBe<uint32_t>(out, imm);
  return out + kImmSize;
}

uint8_t* EncodeIeth(uint32_t rkey, uint8_t* out) {
  PutBe<uint32_t>(out, rkey);
  return out + kIethSize;
}

uint8_t* EncodeAeth(const Aeth& v, uint8_t* out) {
  PutBe<uint32_t>(out, v.msn & kPsnMask);
  out[0] = v.syndrome;
  return out + kAethSize;
}

uint8_t* EncodeDeth(const Deth& v, uint8_t* out) {
  PutBe<uint32_t>(out, v.qkey);
  PutBe<uint32_t>(out + 4, v.source_qpn & kPsnMask);
  return out + kDethSize;
}

uint32_t RnrTimerMicros(uint8_t code) {
  static constexpr uint32_t kMicros[32] = {
      655360, 10,    20,    30,     40,     60,     80,     120,
      160,    240,   320,   480,    640,    960,    1280,   1920,
      2560,   3840,  5120,  7680,   10240,  15360,  20480,  30720,
      40960,  61440, 81920, 122880, 163840, 245760, 327680, 491520};
  return kMicros[code & 31];
}

}  // namespace rtrs::softroce
