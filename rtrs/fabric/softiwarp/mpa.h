// MPA set-up frames: Request and Reply, the enhanced data of RFC 6581, and the
// prefix of the private data in which two softiwarp announce what they take.
// spec/iwarp.md §1. Pure functions.
#ifndef RTRS_FABRIC_SOFTIWARP_MPA_H_
#define RTRS_FABRIC_SOFTIWARP_MPA_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/fabric/softiwarp/fpdu.h"

namespace rtrs::fabric::softiwarp {

constexpr size_t kMpaHeaderSize = 20;
constexpr size_t kMpaMaxPrivateData = 512;
constexpr size_t kMpaMaxFrame = kMpaHeaderSize + kMpaMaxPrivateData;
constexpr size_t kMpaEnhancedSize = 4;
constexpr size_t kMpaPrefixSize = 8;
// What is left for the user of the fabric.
constexpr size_t kMpaMaxUserData =
    kMpaMaxPrivateData - kMpaEnhancedSize - kMpaPrefixSize;

// The 4 bytes of RFC 6581: connection model and RTR kinds.
struct MpaEnhanced {
  bool peer_to_peer = false;
  bool rtr_send = false;
  bool rtr_write = false;
  bool rtr_read = false;
  uint16_t ird = 0;  // 14 bits
  uint16_t ord = 0;  // 14 bits
};

// What the sender of a frame accepts as a receiver. Without it the peer is a
// plain iWARP implementation.
struct MpaCapabilities {
  static constexpr uint16_t kImmediate = 1;
  static constexpr uint16_t kSendImmediate = 2;
  static constexpr uint16_t kLargeFpdus = 4;
  uint16_t bits = kImmediate | kSendImmediate | kLargeFpdus;
  uint16_t max_ulpdu = kMaxUlpdu;
};

struct MpaFrame {
  bool reply = false;
  bool markers = false;
  bool crc = false;
  bool rejected = false;
  uint8_t revision = 2;
  std::optional<MpaEnhanced> enhanced;
  std::optional<MpaCapabilities> capabilities;
  std::vector<uint8_t> user_data;  // the rest of the private data
};

std::vector<uint8_t> EncodeMpaFrame(const MpaFrame& frame);

struct MpaParse {
  enum class Result {
    kIncomplete,  // so far so good
    kDone,
    kMalformed,  // close without an answer
    kRefused,    // well formed, but the prefix makes no sense: reject
  };
  Result result = Result::kIncomplete;
  size_t consumed = 0;  // with kDone and kRefused
  std::string problem;  // with kMalformed and kRefused
};

// Parses the frame at the start of `bytes`, a Reply or a Request as `reply`
// says. Finds a wrong key at its first wrong byte.
MpaParse ParseMpaFrame(absl::Span<const uint8_t> bytes, bool reply,
                       MpaFrame* frame);

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_MPA_H_
