#include "rtrs/wire/rtrs_messages.h"

#include <errno.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/wire/coding.h"
#include "rtrs/wire/fields.h"
#include "rtrs/wire/immediate.h"

namespace rtrs::wire {
namespace {

// Offsets of the connect request, §1.3.
constexpr size_t kReqMagic = 2;
constexpr size_t kReqVersion = 4;
constexpr size_t kReqCid = 6;
constexpr size_t kReqCidNum = 8;
constexpr size_t kReqReconCnt = 10;
constexpr size_t kReqSessUuid = 12;
constexpr size_t kReqPathsUuid = 28;
constexpr size_t kReqFirstConn = 44;
constexpr size_t kReqCapabilities = 45;
static_assert(kReqCapabilities + Capabilities::kSize <= ConnectRequest::kSize);

// Offsets of the connect response, §1.4.
constexpr size_t kRspMagic = 0;
constexpr size_t kRspVersion = 2;
constexpr size_t kRspErrno = 4;
constexpr size_t kRspQueueDepth = 6;
constexpr size_t kRspMaxIoSize = 8;
constexpr size_t kRspMaxHdrSize = 12;
constexpr size_t kRspFlags = 16;
constexpr size_t kRspCapabilities = 20;
static_assert(kRspCapabilities + Capabilities::kSize <= ConnectResponse::kSize);

constexpr size_t kInfoReqName = 2;
static_assert(kInfoReqName + kNameFieldSize <= InfoRequest::kSize);

absl::Status CheckMagicAndVersion(absl::Span<const uint8_t> bytes, size_t size,
                                  size_t magic_at, size_t version_at,
                                  absl::string_view message) {
  if (bytes.size() < size) {
    return ErrnoError(ECONNRESET, absl::StrCat(message, " has ", bytes.size(),
                                               " bytes, needs ", size));
  }
  const uint16_t magic = GetLe<uint16_t>(bytes.data() + magic_at);
  if (magic != kMagic) {
    return ErrnoError(ECONNRESET,
                      absl::StrFormat("%s has magic 0x%04x instead of 0x%04x, "
                                      "the peer does not speak RTRS",
                                      message, magic, kMagic));
  }
  const uint16_t version = GetLe<uint16_t>(bytes.data() + version_at);
  if (version >> 8 != kProtocolVersion >> 8) {
    return ErrnoError(
        ECONNRESET,
        absl::StrFormat("%s has protocol version %d.%d, this end "
                        "speaks %d.%d",
                        message, version >> 8, version & 0xff,
                        kProtocolVersion >> 8, kProtocolVersion & 0xff));
  }
  return absl::OkStatus();
}

void PutDescriptor(const Descriptor& v, uint8_t* out) {
  PutLe<uint64_t>(out, v.address);
  PutLe<uint32_t>(out + 8, v.rkey);
  PutLe<uint32_t>(out + 12, v.length);
}

Descriptor GetDescriptor(const uint8_t* p) {
  return {GetLe<uint64_t>(p), GetLe<uint32_t>(p + 8), GetLe<uint32_t>(p + 12)};
}

}  // namespace

std::array<uint8_t, ConnectRequest::kSize> Encode(const ConnectRequest& v) {
  std::array<uint8_t, ConnectRequest::kSize> out{};
  uint8_t* p = out.data();
  PutLe<uint16_t>(p + kReqMagic, kMagic);
  PutLe<uint16_t>(p + kReqVersion, kProtocolVersion);
  PutLe<uint16_t>(p + kReqCid, v.cid);
  PutLe<uint16_t>(p + kReqCidNum, v.cid_num);
  PutLe<uint16_t>(p + kReqReconCnt, v.recon_cnt);
  std::copy(v.sess_uuid.begin(), v.sess_uuid.end(), p + kReqSessUuid);
  std::copy(v.paths_uuid.begin(), v.paths_uuid.end(), p + kReqPathsUuid);
  p[kReqFirstConn] = v.first_conn ? 1 : 0;
  EncodeCapabilities(v.capabilities, p + kReqCapabilities);
  return out;
}

absl::StatusOr<ConnectRequest> DecodeConnectRequest(
    absl::Span<const uint8_t> bytes) {
  RTRS_RETURN_IF_ERROR(CheckMagicAndVersion(
      bytes, ConnectRequest::kSize, kReqMagic, kReqVersion, "connect request"));
  const uint8_t* p = bytes.data();
  ConnectRequest v;
  v.cid = GetLe<uint16_t>(p + kReqCid);
  v.cid_num = GetLe<uint16_t>(p + kReqCidNum);
  v.recon_cnt = GetLe<uint16_t>(p + kReqReconCnt);
  if (v.cid_num > kMaxConnections) {
    return ErrnoError(ECONNRESET,
                      absl::StrCat("connect request for a path of ", v.cid_num,
                                   " connections, at most ", kMaxConnections));
  }
  if (v.cid >= v.cid_num) {
    return ErrnoError(
        ECONNRESET, absl::StrCat("connect request for cid ", v.cid,
                                 " of a path of ", v.cid_num, " connections"));
  }
  std::copy_n(p + kReqSessUuid, v.sess_uuid.size(), v.sess_uuid.begin());
  std::copy_n(p + kReqPathsUuid, v.paths_uuid.size(), v.paths_uuid.begin());
  v.first_conn = (p[kReqFirstConn] & 1) != 0;
  v.capabilities =
      DecodeCapabilities(bytes.subspan(kReqCapabilities, Capabilities::kSize));
  return v;
}

std::array<uint8_t, ConnectResponse::kSize> Encode(const ConnectResponse& v) {
  std::array<uint8_t, ConnectResponse::kSize> out{};
  uint8_t* p = out.data();
  PutLe<uint16_t>(p + kRspMagic, kMagic);
  PutLe<uint16_t>(p + kRspVersion, kProtocolVersion);
  PutLe<uint16_t>(p + kRspErrno, static_cast<uint16_t>(-v.error));
  PutLe<uint16_t>(p + kRspQueueDepth, v.queue_depth);
  PutLe<uint32_t>(p + kRspMaxIoSize, v.max_io_size);
  PutLe<uint32_t>(p + kRspMaxHdrSize, v.max_hdr_size);
  PutLe<uint32_t>(p + kRspFlags, v.flags);
  EncodeCapabilities(v.capabilities, p + kRspCapabilities);
  return out;
}

absl::StatusOr<ConnectResponse> DecodeConnectResponse(
    absl::Span<const uint8_t> bytes) {
  RTRS_RETURN_IF_ERROR(CheckMagicAndVersion(bytes, ConnectResponse::kSize,
                                            kRspMagic, kRspVersion,
                                            "connect response"));
  const uint8_t* p = bytes.data();
  ConnectResponse v;
  // A positive number is against the protocol, and is an error all the same.
  const int error = static_cast<int16_t>(GetLe<uint16_t>(p + kRspErrno));
  v.error = error < 0 ? -error : error;
  v.queue_depth = GetLe<uint16_t>(p + kRspQueueDepth);
  v.max_io_size = GetLe<uint32_t>(p + kRspMaxIoSize);
  v.max_hdr_size = GetLe<uint32_t>(p + kRspMaxHdrSize);
  v.flags = GetLe<uint32_t>(p + kRspFlags);
  v.capabilities =
      DecodeCapabilities(bytes.subspan(kRspCapabilities, Capabilities::kSize));
  return v;
}

absl::Status CheckSessionName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxNameLength) {
    return ErrnoError(
        EINVAL, absl::StrCat("session name of ", name.size(),
                             " bytes; it must have 1 to ", kMaxNameLength));
  }
  for (const char forbidden : {'/', '.', '\0'}) {
    if (name.find(forbidden) == absl::string_view::npos) continue;
    return ErrnoError(
        EINVAL, absl::StrCat("session name \"", absl::CEscape(name),
                             "\" must not contain '/', '.' or a NUL byte"));
  }
  return absl::OkStatus();
}

std::array<uint8_t, InfoRequest::kSize> Encode(const InfoRequest& v) {
  std::array<uint8_t, InfoRequest::kSize> out{};
  PutLe(out.data(), static_cast<uint16_t>(RtrsType::kInfoReq));
  PutName(v.sessname, out.data() + kInfoReqName);
  return out;
}

absl::StatusOr<InfoRequest> DecodeInfoRequest(absl::Span<const uint8_t> bytes) {
  RTRS_RETURN_IF_ERROR(
      CheckTypeAndSize(bytes, static_cast<uint16_t>(RtrsType::kInfoReq),
                       InfoRequest::kSize, "INFO_REQ"));
  InfoRequest v;
  RTRS_ASSIGN_OR_RETURN(v.sessname,
                        GetName(bytes.data() + kInfoReqName, "session name"));
  RTRS_RETURN_IF_ERROR(CheckSessionName(v.sessname));
  return v;
}

std::vector<uint8_t> Encode(const InfoResponse& v) {
  std::vector<uint8_t> out(InfoResponse::kHeaderSize +
                           v.descriptors.size() * Descriptor::kSize);
  uint8_t* p = out.data();
  PutLe(p, static_cast<uint16_t>(RtrsType::kInfoRsp));
  PutLe(p + 2, static_cast<uint16_t>(v.descriptors.size()));
  p += InfoResponse::kHeaderSize;
  for (const Descriptor& descriptor : v.descriptors) {
    PutDescriptor(descriptor, p);
    p += Descriptor::kSize;
  }
  return out;
}

absl::StatusOr<InfoResponse> DecodeInfoResponse(absl::Span<const uint8_t> bytes,
                                                uint32_t queue_depth,
                                                uint32_t chunk_size) {
  RTRS_RETURN_IF_ERROR(
      CheckTypeAndSize(bytes, static_cast<uint16_t>(RtrsType::kInfoRsp),
                       InfoResponse::kHeaderSize, "INFO_RSP"));
  if (chunk_size == 0) return ErrnoError(EINVAL, "chunk size is 0");
  const uint32_t sg_cnt = GetLe<uint16_t>(bytes.data() + 2);
  const size_t needed = InfoResponse::kHeaderSize + sg_cnt * Descriptor::kSize;
  if (bytes.size() < needed) {
    return ErrnoError(
        EINVAL, absl::StrCat("INFO_RSP has ", bytes.size(), " bytes, its ",
                             sg_cnt, " descriptors need ", needed));
  }
  if (sg_cnt == 0 || queue_depth % sg_cnt != 0) {
    return ErrnoError(EINVAL, absl::StrCat("INFO_RSP has ", sg_cnt,
                                           " descriptors, which does not "
                                           "divide the queue depth of ",
                                           queue_depth));
  }
  if (std::bit_width(sg_cnt - 1) + std::bit_width(chunk_size - 1) >
      kImmPayloadBits) {
    return ErrnoError(
        EINVAL, absl::StrCat("INFO_RSP has ", sg_cnt,
                             " descriptors, too many for an immediate with "
                             "chunks of ",
                             chunk_size, " bytes"));
  }
  InfoResponse v;
  v.descriptors.reserve(sg_cnt);
  uint64_t chunks = 0;
  for (uint32_t i = 0; i < sg_cnt; ++i) {
    const Descriptor d = GetDescriptor(
        bytes.data() + InfoResponse::kHeaderSize + i * Descriptor::kSize);
    if (d.length == 0 || d.length % chunk_size != 0) {
      return ErrnoError(
          EINVAL, absl::StrCat("INFO_RSP descriptor ", i, " has ", d.length,
                               " bytes, not a multiple of the chunk size of ",
                               chunk_size));
    }
    // Addresses of chunks are computed from this one, and must not wrap.
    if (d.address > UINT64_MAX - d.length) {
      return ErrnoError(EINVAL,
                        absl::StrFormat("INFO_RSP descriptor %d wraps: address "
                                        "0x%x, %d bytes",
                                        i, d.address, d.length));
    }
    chunks += d.length / chunk_size;
    v.descriptors.push_back(d);
  }
  if (chunks != queue_depth) {
    return ErrnoError(
        EINVAL, absl::StrCat("INFO_RSP describes ", chunks,
                             " chunks, the queue depth is ", queue_depth));
  }
  return v;
}

std::array<uint8_t, RkeyResponse::kSize> Encode(const RkeyResponse& v) {
  std::array<uint8_t, RkeyResponse::kSize> out{};
  PutLe(out.data(), static_cast<uint16_t>(RtrsType::kRkeyRsp));
  PutLe<uint16_t>(out.data() + 2, v.buf_id);
  PutLe<uint32_t>(out.data() + 4, v.rkey);
  return out;
}

absl::StatusOr<RkeyResponse> DecodeRkeyResponse(
    absl::Span<const uint8_t> bytes) {
  RTRS_RETURN_IF_ERROR(
      CheckTypeAndSize(bytes, static_cast<uint16_t>(RtrsType::kRkeyRsp),
                       RkeyResponse::kSize, "RKEY_RSP"));
  return RkeyResponse{GetLe<uint16_t>(bytes.data() + 2),
                      GetLe<uint32_t>(bytes.data() + 4)};
}

size_t EncodeIoHeader(const IoHeader& v, uint8_t* out) {
  PutLe(out, static_cast<uint16_t>(v.type));
  PutLe<uint16_t>(out + 2, v.usr_len);
  if (v.type == RtrsType::kWrite) return IoHeader::kWriteSize;
  const bool need_inval = v.need_inval && v.has_descriptor;
  PutLe<uint16_t>(out + 4, need_inval ? IoHeader::kFlagNeedInval : 0);
  PutLe<uint16_t>(out + 6, v.has_descriptor ? 1 : 0);
  if (!v.has_descriptor) return IoHeader::kReadSize;
  PutDescriptor(v.descriptor, out + IoHeader::kReadSize);
  return IoHeader::kReadSize + Descriptor::kSize;
}

absl::StatusOr<IoHeader> DecodeIoHeader(absl::Span<const uint8_t> bytes) {
  if (bytes.size() < IoHeader::kWriteSize) {
    return ErrnoError(EINVAL,
                      absl::StrCat("RTRS message cut by the end of its chunk "
                                   "after ",
                                   bytes.size(), " bytes"));
  }
  const uint8_t* p = bytes.data();
  IoHeader v;
  const uint16_t type = GetLe<uint16_t>(p);
  v.usr_len = GetLe<uint16_t>(p + 2);
  if (type == static_cast<uint16_t>(RtrsType::kWrite)) {
    v.type = RtrsType::kWrite;
    return v;
  }
  if (type != static_cast<uint16_t>(RtrsType::kRead)) {
    return ErrnoError(EINVAL, absl::StrCat("RTRS message of type ", type,
                                           " is neither WRITE nor READ"));
  }
  v.type = RtrsType::kRead;
  if (bytes.size() < IoHeader::kReadSize) {
    return ErrnoError(EINVAL, "READ message cut by the end of its chunk");
  }
  const uint16_t flags = GetLe<uint16_t>(p + 4);
  const uint16_t sg_cnt = GetLe<uint16_t>(p + 6);
  if (sg_cnt > 1) {
    return ErrnoError(EINVAL, absl::StrCat("READ message has ", sg_cnt,
                                           " descriptors, at most 1"));
  }
  if (sg_cnt == 0) return v;
  if (bytes.size() < IoHeader::kMaxSize) {
    return ErrnoError(EINVAL, "READ descriptor cut by the end of its chunk");
  }
  v.has_descriptor = true;
  v.need_inval = (flags & IoHeader::kFlagNeedInval) != 0;
  v.descriptor = GetDescriptor(p + IoHeader::kReadSize);
  return v;
}

}  // namespace rtrs::wire
