// RoCEv2 packets to the byte: base transport header and extension headers.
// roce.md §1, §4, §5, §8.
//
// Parsing takes a UDP payload and checks everything that needs no queue pair:
// a known opcode first, then that the headers, the pad and the ICRC fit.
// Pure functions; any thread.
#ifndef RTRS_FABRIC_SOFTROCE_PACKET_H_
#define RTRS_FABRIC_SOFTROCE_PACKET_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/types/span.h"

namespace rtrs::softroce {

inline constexpr uint16_t kUdpPort = 4791;
inline constexpr uint16_t kDefaultPkey = 0xFFFF;
inline constexpr uint32_t kGsiQpn = 1;
inline constexpr uint32_t kGsiQkey = 0x80010000;
inline constexpr uint32_t kMulticastQpn = 0xFFFFFF;
inline constexpr size_t kBthSize = 12;
inline constexpr size_t kRethSize = 16;
inline constexpr size_t kImmSize = 4;
inline constexpr size_t kIethSize = 4;
inline constexpr size_t kAethSize = 4;
inline constexpr size_t kDethSize = 8;
inline constexpr size_t kIcrcSize = 4;
// The longest headers that we send: WRITE_ONLY_IMM.
inline constexpr size_t kMaxHeaderSize = kBthSize + kRethSize + kImmSize;

enum class Opcode : uint8_t {
  kSendFirst = 0x00,
  kSendMiddle = 0x01,
  kSendLast = 0x02,
  kSendLastImm = 0x03,
  kSendOnly = 0x04,
  kSendOnlyImm = 0x05,
  kWriteFirst = 0x06,
  kWriteMiddle = 0x07,
  kWriteLast = 0x08,
  kWriteLastImm = 0x09,
  kWriteOnly = 0x0A,
  kWriteOnlyImm = 0x0B,
  kReadRequest = 0x0C,
  kAck = 0x11,
  kCompareSwap = 0x13,
  kFetchAdd = 0x14,
  kSendLastInv = 0x16,
  kSendOnlyInv = 0x17,
  kUdSendOnly = 0x64,
};

// What an opcode means for a responder and which headers follow the BTH.
struct OpcodeInfo {
  enum Bits : uint16_t {
    kReth = 0x001,
    kImm = 0x002,
    kIeth = 0x004,
    kAeth = 0x008,
    kDeth = 0x010,
    kSend = 0x020,     // part of a SEND message
    kWrite = 0x040,    // part of an RDMA WRITE message
    kStart = 0x080,    // first packet of its message
    kEnd = 0x100,      // last packet of its message
    kReceive = 0x200,  // consumes a posted receive (at the message's start for
                       // SEND, with the immediate for WRITE)
    kRefused = 0x400,  // well formed, but nothing that RTRS may use
  };
  uint16_t bits = 0;
  uint8_t header_size = 0;  // BTH and extension headers, bytes
  const char* name = nullptr;
  bool Has(uint16_t mask) const { return (bits & mask) != 0; }
};
// nullptr for an opcode that does not exist.
const OpcodeInfo* FindOpcode(uint8_t opcode);

// Sequence numbers have 24 bits and wrap. §5.
inline constexpr uint32_t kPsnMask = 0xFFFFFF;
// Below 0 when a is older than b, 0 when equal.
constexpr int32_t ComparePsn(uint32_t a, uint32_t b) {
  return static_cast<int32_t>((a - b) << 8) >> 8;
}
constexpr uint32_t AddPsn(uint32_t psn, uint32_t n) {
  return (psn + n) & kPsnMask;
}

struct Bth {
  uint8_t opcode = 0;
  bool solicited = false;
  uint8_t pad = 0;  // 0..3 bytes behind the payload
  uint16_t pkey = kDefaultPkey;
  bool fecn = false;
  bool becn = false;
  uint32_t dest_qpn = 0;  // 24 bits
  bool ack_request = false;
  uint32_t psn = 0;  // 24 bits
};

struct Reth {
  uint64_t address = 0;
  uint32_t rkey = 0;
  uint32_t length = 0;  // of the whole message, bytes
};

// Syndromes of an AETH. §8.
inline constexpr uint8_t kAckSyndrome = 0x1F;
inline constexpr uint8_t kRnrNak = 0x20;  // or-ed with a timer code 0..31
inline constexpr uint8_t kNakPsnSequence = 0x60;
inline constexpr uint8_t kNakInvalidRequest = 0x61;
inline constexpr uint8_t kNakRemoteAccess = 0x62;
inline constexpr uint8_t kNakRemoteOperation = 0x63;

struct Aeth {
  uint8_t syndrome = kAckSyndrome;
  uint32_t msn = 0;  // 24 bits
};

struct Deth {
  uint32_t qkey = 0;
  uint32_t source_qpn = 0;
};

// A parsed packet; the headers that its opcode does not have are defaults.
struct Packet {
  Bth bth;
  const OpcodeInfo* info = nullptr;
  Reth reth;
  uint32_t imm = 0;  // host order
  uint32_t invalidate_rkey = 0;
  Aeth aeth;
  Deth deth;
  absl::Span<const uint8_t> payload;  // without pad; points into the input
};

enum class ParseError : uint8_t {
  kNone,
  kTooShort,  // not even a BTH and an ICRC
  kUnknownOpcode,
  kTruncated,  // the headers of the opcode, the pad or the ICRC do not fit
  kVersion,    // transport version other than 0
  kPkey,       // not the default partition
  kBadQpn,     // multicast, or a UD packet for another queue pair than 1
};
const char* ParseErrorName(ParseError error);

// `udp_payload`: BTH up to and including the ICRC, which is not checked here.
ParseError Parse(absl::Span<const uint8_t> udp_payload, Packet* out);

// Each writes its fixed size to `out` and returns the position behind it.
uint8_t* EncodeBth(const Bth& v, uint8_t* out);
uint8_t* EncodeReth(const Reth& v, uint8_t* out);
uint8_t* EncodeImm(uint32_t imm, uint8_t* out);
uint8_t* EncodeIeth(uint32_t rkey, uint8_t* out);
uint8_t* EncodeAeth(const Aeth& v, uint8_t* out);
uint8_t* EncodeDeth(const Deth& v, uint8_t* out);

// Microseconds of an RNR timer code (0..31). §8.
uint32_t RnrTimerMicros(uint8_t code);

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_PACKET_H_
