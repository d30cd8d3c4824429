// Headers of one FPDU: MPA length, DDP segment, RDMAP control. spec/iwarp.md
// §2, §3. Pure functions; sizes in bytes.
//
//   | length 2 | DDP/RDMAP header 14 or 18 | payload | pad 0..3 | CRC 4 |
#ifndef RTRS_FABRIC_SOFTIWARP_FPDU_H_
#define RTRS_FABRIC_SOFTIWARP_FPDU_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/fabric/softiwarp/terminate.h"

namespace rtrs::fabric::softiwarp {

enum class Opcode : uint8_t {
  kWrite = 0,
  kReadRequest = 1,
  kReadResponse = 2,
  kSend = 3,
  kSendInvalidate = 4,
  kSendSolicited = 5,
  kSendSolicitedInvalidate = 6,
  kTerminate = 7,
  kImmediate = 8,
  kImmediateSolicited = 9,
};

constexpr size_t kLengthFieldSize = 2;
constexpr size_t kTaggedHeaderSize = 14;
constexpr size_t kUntaggedHeaderSize = 18;
constexpr size_t kMaxHeaderSize = kLengthFieldSize + kUntaggedHeaderSize;
constexpr size_t kCrcSize = 4;
constexpr uint32_t kMaxUlpdu = 64768;
constexpr uint32_t kMinUlpdu = 128;
constexpr uint32_t kSendQueueNumber = 0;
constexpr uint32_t kTerminateQueueNumber = 2;
constexpr uint32_t kImmediatePayload = 8;

struct FpduHeader {
  bool tagged = false;
  bool last = true;
  Opcode opcode = Opcode::kSend;
  uint32_t payload = 0;  // bytes
  // Tagged: where the payload goes.
  uint32_t stag = 0;
  uint64_t offset = 0;
  // Untagged.
  uint32_t invalidate_stag = 0;
  uint32_t queue_number = 0;
  uint32_t msn = 0;
  uint32_t message_offset = 0;

  // Length field and header.
  size_t size() const {
    return kLengthFieldSize +
           (tagged ? kTaggedHeaderSize : kUntaggedHeaderSize);
  }
  uint32_t pad() const {
    return (0 - (static_cast<uint32_t>(size()) + payload)) & 3;
  }
  bool is_immediate() const {
    return opcode == Opcode::kImmediate ||
           opcode == Opcode::kImmediateSolicited;
  }
  bool invalidates() const {
    return opcode == Opcode::kSendInvalidate ||
           opcode == Opcode::kSendSolicitedInvalidate;
  }
};

// Writes header.size() bytes at `out` and returns how many.
size_t EncodeFpduHeader(const FpduHeader& header, uint8_t* out);

// What is wrong with a frame, and whether its header goes into the Terminate.
struct Refusal {
  TerminateCode code;
  bool with_header = false;
  friend bool operator==(const Refusal&, const Refusal&) = default;
};

// Bytes of the whole FPDU that starts with `bytes` (at least
// kFpduPrefixSize), or a refusal if framing is lost.
constexpr size_t kFpduPrefixSize = 4;
struct Framing {
  size_t header_size = 0;  // with the length field
  size_t fpdu_size = 0;
};
std::optional<Refusal> ParseFraming(const uint8_t* bytes, Framing* framing);

// Decodes the header at `bytes`, of which framing.header_size are there, and
// checks versions, opcode and tagging. What it means in the stream is checked
// by Inbound.
std::optional<Refusal> DecodeFpduHeader(const uint8_t* bytes,
                                        FpduHeader* header);

// The Terminate message for `code` as a whole FPDU; see EncodeTerminate.
std::vector<uint8_t> TerminateFpdu(TerminateCode code,
                                   absl::Span<const uint8_t> offender,
                                   bool with_crc);

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_FPDU_H_
