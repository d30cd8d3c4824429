// RNBD messages to the byte; they travel as user messages and reply data of
// RTRS requests. wire.md §7.
//
// Encode fills everything including reserved bytes (zero). Decode* checks
// length, type and strings; ids and ranges are the caller's. Any thread.
#ifndef RTRS_WIRE_RNBD_MESSAGES_H_
#define RTRS_WIRE_RNBD_MESSAGES_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace rnbd::wire {

inline constexpr uint8_t kProtocolMajor = 2;
inline constexpr uint32_t kSectorSize = 512;  // of every sector count here

enum class RnbdType : uint16_t {
  kSessInfo = 0,
  kSessInfoRsp = 1,
  kOpen = 2,
  kOpenRsp = 3,
  kIo = 4,
  kClose = 5,
};

// The type in the 4-byte header; error if `bytes` is shorter or it is unknown.
absl::StatusOr<RnbdType> DecodeType(absl::Span<const uint8_t> bytes);

// SESS_INFO and SESS_INFO_RSP, §7.2.
struct SessInfo {
  static constexpr size_t kSize = 36;
  uint8_t version = kProtocolMajor;

  friend bool operator==(const SessInfo&, const SessInfo&) = default;
};
std::array<uint8_t, SessInfo::kSize> EncodeSessInfo(const SessInfo& v);
std::array<uint8_t, SessInfo::kSize> EncodeSessInfoRsp(const SessInfo& v);
absl::StatusOr<SessInfo> DecodeSessInfo(absl::Span<const uint8_t> bytes);
absl::StatusOr<SessInfo> DecodeSessInfoRsp(absl::Span<const uint8_t> bytes);

enum class AccessMode : uint8_t { kRo = 0, kRw = 1, kMigration = 2 };
const char* AccessModeName(AccessMode mode);  // "ro", "rw", "migration"
absl::StatusOr<AccessMode> ParseAccessMode(absl::string_view text);

// OPEN, §7.3.
struct Open {
  static constexpr size_t kSize = 264;
  AccessMode access_mode = AccessMode::kRw;
  std::string device_name;  // 1..254 bytes

  friend bool operator==(const Open&, const Open&) = default;
};
std::array<uint8_t, Open::kSize> Encode(const Open& v);
// Refuses a name without NUL or empty, and unknown access modes (EINVAL).
absl::StatusOr<Open> DecodeOpen(absl::Span<const uint8_t> bytes);

// OPEN_RSP, §7.3. Sector counts are in 512-byte units.
struct OpenRsp {
  static constexpr size_t kSize = 56;
  static constexpr uint8_t kFua = 0x1;
  static constexpr uint8_t kWriteBack = 0x2;
  uint32_t device_id = 0;
  uint64_t nsectors = 0;
  uint32_t max_hw_sectors = 0;
  uint32_t max_write_zeroes_sectors = 0;  // slot 20
  uint32_t max_discard_sectors = 0;
  uint32_t discard_granularity = 0;  // bytes
  uint32_t discard_alignment = 0;    // bytes
  uint16_t physical_block_size = 0;  // bytes
  uint16_t logical_block_size = 0;   // bytes
  uint16_t max_segments = 0;
  uint16_t secure_discard = 0;
  bool rotational = false;
  uint8_t cache_policy = 0;  // kFua, kWriteBack
  // In the reserved bytes 46..53, LE, only towards a client that announced
  // Capabilities::kWriteVerifier: changes whenever acknowledged but unflushed
  // writes may have been lost. 0: none.
  uint64_t write_verifier = 0;

  friend bool operator==(const OpenRsp&, const OpenRsp&) = default;
};
std::array<uint8_t, OpenRsp::kSize> Encode(const OpenRsp& v);
absl::StatusOr<OpenRsp> DecodeOpenRsp(absl::Span<const uint8_t> bytes);

// IO, §7.5. Trivial: on the data path.
enum class Op : uint8_t {
  kRead = 0,
  kWrite = 1,
  kFlush = 2,
  kDiscard = 3,
  kSecureErase = 4,
  kWriteZeroes = 5,  // write same before 5.18
};
const char* OpName(Op op);

struct Io {
  static constexpr size_t kSize = 32;     // as sent
  static constexpr size_t kMinSize = 26;  // meaningful bytes
  static constexpr uint32_t kSync = 0x100;
  static constexpr uint32_t kFua = 0x200;
  static constexpr uint32_t kPreflush = 0x400;
  static constexpr uint32_t kNoUnmap = 0x800;
  uint32_t device_id = 0;
  uint64_t sector = 0;    // 512-byte units
  Op op = Op::kRead;      // DecodeIo: one of the named values
  uint32_t flags = 0;     // kSync ... kNoUnmap; others are ignored
  uint32_t length = 0;    // bytes
  uint16_t priority = 0;  // Linux ioprio; 0 from messages shorter than kSize

  friend bool operator==(const Io&, const Io&) = default;
};
void EncodeIo(const Io& v, uint8_t* out);  // kSize bytes
// Unknown operations are refused (EOPNOTSUPP): the kernel would read.
absl::StatusOr<Io> DecodeIo(absl::Span<const uint8_t> bytes);

// The payload of a NOTICE (immediate.h) is the id of a device that the client
// has open and whose size is not that of its last OPEN_RSP any more. The client
// asks by another OPEN of the same name, which is answered with the same id; it
// opens nothing a second time, one CLOSE still closes the device. Ids of more
// than 28 bits have no notice.

// CLOSE, §7.6.
struct Close {
  static constexpr size_t kSize = 8;
  uint32_t device_id = 0;

  friend bool operator==(const Close&, const Close&) = default;
};
std::array<uint8_t, Close::kSize> Encode(const Close& v);
absl::StatusOr<Close> DecodeClose(absl::Span<const uint8_t> bytes);

}  // namespace rnbd::wire

#endif  // RTRS_WIRE_RNBD_MESSAGES_H_
