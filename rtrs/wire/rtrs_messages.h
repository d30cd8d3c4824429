// RTRS messages to the byte: connect, info exchange, request headers, rkey
// refresh. wire.md §1-§4.
//
// Encode* fills the whole message including reserved bytes (zero). Decode*
// checks type and bounds and nothing that depends on a session; it accepts
// garbage in reserved bytes. Any thread.
#ifndef RTRS_WIRE_RTRS_MESSAGES_H_
#define RTRS_WIRE_RTRS_MESSAGES_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "rtrs/base/uuid.h"
#include "rtrs/wire/capabilities.h"

namespace rtrs::wire {

inline constexpr uint16_t kMagic = 0x1BBD;
inline constexpr uint16_t kProtocolVersion = 0x0200;  // major in the high byte
inline constexpr uint16_t kDefaultPort = 1234;
inline constexpr uint32_t kServiceConnectionDepth = 512;
inline constexpr uint32_t kMaxPaths = 128;         // of a session
inline constexpr uint32_t kMaxConnections = 4096;  // of a path
inline constexpr uint32_t kMinChunkSize = 8192;
inline constexpr uint32_t kDefaultChunkSize = 131072;
inline constexpr uint32_t kMaxHeaderSize = 4096;  // header part of a chunk
inline constexpr uint32_t kDefaultQueueDepth = 512;
inline constexpr uint32_t kMaxQueueDepth = 65535;
inline constexpr size_t kMaxNameLength = 254;  // session and device names

enum class RtrsType : uint16_t {
  kInfoReq = 0,
  kInfoRsp = 1,
  kWrite = 2,
  kRead = 3,
  kRkeyRsp = 4,
};

// Private data of a connect request, §1.3.
struct ConnectRequest {
  static constexpr size_t kSize = 56;
  uint16_t cid = 0;
  uint16_t cid_num = 0;
  uint16_t recon_cnt = 0;
  Uuid sess_uuid{};   // names the path
  Uuid paths_uuid{};  // names the session
  bool first_conn = false;
  Capabilities capabilities;  // in the reserved bytes; none from kernel peers

  friend bool operator==(const ConnectRequest&,
                         const ConnectRequest&) = default;
};
std::array<uint8_t, ConnectRequest::kSize> Encode(const ConnectRequest& v);
// Checks length, magic and major version, cid_num and cid (checks 1-5 of §1.5).
absl::StatusOr<ConnectRequest> DecodeConnectRequest(
    absl::Span<const uint8_t> bytes);

// Private data of an accept (error 0) or of a rejection, §1.4.
struct ConnectResponse {
  static constexpr size_t kSize = 56;
  static constexpr uint32_t kFlagNewRkey = 0x2;
  int error = 0;  // positive errno; sent negative, as 16 bits
  uint16_t queue_depth = 0;
  uint32_t max_io_size = 0;   // bytes
  uint32_t max_hdr_size = 0;  // bytes
  uint32_t flags = 0;
  Capabilities capabilities;

  friend bool operator==(const ConnectResponse&,
                         const ConnectResponse&) = default;
};
std::array<uint8_t, ConnectResponse::kSize> Encode(const ConnectResponse& v);
// Checks length, magic and major version only. The limits are not bounded
// here: see client::BoundConnectResponse.
absl::StatusOr<ConnectResponse> DecodeConnectResponse(
    absl::Span<const uint8_t> bytes);

// INFO_REQ, §2.2.
struct InfoRequest {
  static constexpr size_t kSize = 272;
  std::string sessname;

  friend bool operator==(const InfoRequest&, const InfoRequest&) = default;
};
// sessname: 1..254 bytes.
std::array<uint8_t, InfoRequest::kSize> Encode(const InfoRequest& v);
// Also refuses a name without NUL, empty, or with '/' or '.' (EINVAL payload).
absl::StatusOr<InfoRequest> DecodeInfoRequest(absl::Span<const uint8_t> bytes);
// The name rule alone, for parameters; the error names the name.
absl::Status CheckSessionName(absl::string_view name);

// A region of remote memory: descriptor of INFO_RSP and of READ.
struct Descriptor {
  static constexpr size_t kSize = 16;
  uint64_t address = 0;
  uint32_t rkey = 0;
  uint32_t length = 0;  // bytes

  friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

// INFO_RSP, §2.3.
struct InfoResponse {
  static constexpr size_t kHeaderSize = 8;
  std::vector<Descriptor> descriptors;

  friend bool operator==(const InfoResponse&, const InfoResponse&) = default;
};
std::vector<uint8_t> Encode(const InfoResponse& v);
// Checks everything of §2.3 against the session's queue depth and chunk size.
absl::StatusOr<InfoResponse> DecodeInfoResponse(absl::Span<const uint8_t> bytes,
                                                uint32_t queue_depth,
                                                uint32_t chunk_size);

// RKEY_RSP, §2.4.
struct RkeyResponse {
  static constexpr size_t kSize = 8;
  uint16_t buf_id = 0;
  uint32_t rkey = 0;

  friend bool operator==(const RkeyResponse&, const RkeyResponse&) = default;
};
std::array<uint8_t, RkeyResponse::kSize> Encode(const RkeyResponse& v);
absl::StatusOr<RkeyResponse> DecodeRkeyResponse(
    absl::Span<const uint8_t> bytes);

// The RTRS message behind the user message of a request, §4.2. Trivial types:
// these are on the data path.
struct IoHeader {
  static constexpr size_t kWriteSize = 4;
  static constexpr size_t kReadSize = 8;  // without descriptors
  static constexpr size_t kMaxSize = 8 + Descriptor::kSize;
  static constexpr uint16_t kFlagNeedInval = 0x1;
  RtrsType type = RtrsType::kWrite;
  uint16_t usr_len = 0;
  bool need_inval = false;      // READ
  bool has_descriptor = false;  // READ with sg_cnt 1
  Descriptor descriptor;

  friend bool operator==(const IoHeader&, const IoHeader&) = default;
};
// Writes the message to `out` (kMaxSize bytes there) and returns its length.
size_t EncodeIoHeader(const IoHeader& v, uint8_t* out);
// `bytes` is what lies at `off` in the chunk, up to the end of the chunk, and
// already copied out of it. Refuses other types, a message that the chunk's
// end cuts, sg_cnt above 1, and NEED_INVAL without descriptor is ignored.
absl::StatusOr<IoHeader> DecodeIoHeader(absl::Span<const uint8_t> bytes);

}  // namespace rtrs::wire

#endif  // RTRS_WIRE_RTRS_MESSAGES_H_
