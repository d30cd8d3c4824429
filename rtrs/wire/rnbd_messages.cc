#include "rtrs/wire/rnbd_messages.h"

#include <errno.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/wire/coding.h"
#include "rtrs/wire/fields.h"

namespace rnbd::wire {
namespace {

using rtrs::ErrnoError;
using rtrs::wire::CheckTypeAndSize;
using rtrs::wire::GetLe;
using rtrs::wire::GetName;
using rtrs::wire::kNameFieldSize;
using rtrs::wire::PutLe;
using rtrs::wire::PutName;

constexpr size_t kHeaderSize = 4;  // type and padding

constexpr size_t kSessInfoVersion = 4;

constexpr size_t kOpenAccessMode = 4;
constexpr size_t kOpenName = 6;
static_assert(kOpenName + kNameFieldSize <= Open::kSize);

// Offsets of OPEN_RSP, §7.3.
constexpr size_t kRspDeviceId = 4;
constexpr size_t kRspNsectors = 8;
constexpr size_t kRspMaxHwSectors = 16;
constexpr size_t kRspMaxWriteZeroes = 20;
constexpr size_t kRspMaxDiscard = 24;
constexpr size_t kRspDiscardGranularity = 28;
constexpr size_t kRspDiscardAlignment = 32;
constexpr size_t kRspPhysicalBlockSize = 36;
constexpr size_t kRspLogicalBlockSize = 38;
constexpr size_t kRspMaxSegments = 40;
constexpr size_t kRspSecureDiscard = 42;
constexpr size_t kRspRotational = 44;
constexpr size_t kRspCachePolicy = 45;
constexpr size_t kRspWriteVerifier = 46;
static_assert(kRspWriteVerifier + sizeof(uint64_t) <= OpenRsp::kSize);

// Offsets of IO, §7.5.
constexpr size_t kIoDeviceId = 4;
constexpr size_t kIoSector = 8;
constexpr size_t kIoOpAndFlags = 16;
constexpr size_t kIoLength = 20;
constexpr size_t kIoPriority = 24;
static_assert(kIoPriority + sizeof(uint16_t) == Io::kMinSize);
constexpr uint32_t kOpMask = 0xff;
constexpr uint32_t kKnownFlags =
    Io::kSync | Io::kFua | Io::kPreflush | Io::kNoUnmap;

constexpr size_t kCloseDeviceId = 4;

template <size_t N>
std::array<uint8_t, N> WithType(RnbdType type) {
  std::array<uint8_t, N> out{};
  PutLe(out.data(), static_cast<uint16_t>(type));
  return out;
}

absl::Status Check(absl::Span<const uint8_t> bytes, RnbdType type, size_t size,
                   absl::string_view message) {
  return CheckTypeAndSize(bytes, static_cast<uint16_t>(type), size, message);
}

}  // namespace

absl::StatusOr<RnbdType> DecodeType(absl::Span<const uint8_t> bytes) {
  if (bytes.size() < kHeaderSize) {
    return ErrnoError(EINVAL, absl::StrCat("RNBD message of ", bytes.size(),
                                           " bytes has no header"));
  }
  const uint16_t type = GetLe<uint16_t>(bytes.data());
  if (type > static_cast<uint16_t>(RnbdType::kClose)) {
    return ErrnoError(EINVAL,
                      absl::StrCat("RNBD message of unknown type ", type));
  }
  return static_cast<RnbdType>(type);
}

std::array<uint8_t, SessInfo::kSize> EncodeSessInfo(const SessInfo& v) {
  auto out = WithType<SessInfo::kSize>(RnbdType::kSessInfo);
  out[kSessInfoVersion] = v.version;
  return out;
}

std::array<uint8_t, SessInfo::kSize> EncodeSessInfoRsp(const SessInfo& v) {
  auto out = WithType<SessInfo::kSize>(RnbdType::kSessInfoRsp);
  out[kSessInfoVersion] = v.version;
  return out;
}

absl::StatusOr<SessInfo> DecodeSessInfo(absl::Span<const uint8_t> bytes) {
  RTRS_RETURN_IF_ERROR(
      Check(bytes, RnbdType::kSessInfo, SessInfo::kSize, "SESS_INFO"));
  return SessInfo{bytes[kSessInfoVersion]};
}

absl::StatusOr<SessInfo> DecodeSessInfoRsp(absl::Span<const uint8_t> bytes) {
  RTRS_RETURN_IF_ERROR(
      Check(bytes, RnbdType::kSessInfoRsp, SessInfo::kSize, "SESS_INFO_RSP"));
  return SessInfo{bytes[kSessInfoVersion]};
}

const char* AccessModeName(AccessMode mode) {
  switch (mode) {
    case AccessMode::kRo:
      return "ro";
    case AccessMode::kRw:
      return "rw";
    case AccessMode::kMigration:
      return "migration";
  }
  return "unknown";
}

absl::StatusOr<AccessMode> ParseAccessMode(absl::string_view text) {
  for (const AccessMode mode :
       {AccessMode::kRo, AccessMode::kRw, AccessMode::kMigration}) {
    if (text == AccessModeName(mode)) return mode;
  }
  return ErrnoError(EINVAL, absl::StrCat("access mode \"", text,
                                         "\" is not ro, rw or migration"));
}

std::array<uint8_t, Open::kSize> Encode(const Open& v) {
  auto out = WithType<Open::kSize>(RnbdType::kOpen);
  out[kOpenAccessMode] = static_cast<uint8_t>(v.access_mode);
  PutName(v.device_name, out.data() + kOpenName);
  return out;
}

absl::StatusOr<Open> DecodeOpen(absl::Span<const uint8_t> bytes) {
  RTRS_RETURN_IF_ERROR(Check(bytes, RnbdType::kOpen, Open::kSize, "OPEN"));
  const uint8_t mode = bytes[kOpenAccessMode];
  if (mode > static_cast<uint8_t>(AccessMode::kMigration)) {
    return ErrnoError(EINVAL,
                      absl::StrCat("OPEN with unknown access mode ", mode));
  }
  Open v;
  v.access_mode = static_cast<AccessMode>(mode);
  RTRS_ASSIGN_OR_RETURN(v.device_name,
                        GetName(bytes.data() + kOpenName, "device name"));
  return v;
}

std::array<uint8_t, OpenRsp::kSize> Encode(const OpenRsp& v) {
  auto out = WithType<OpenRsp::kSize>(RnbdType::kOpenRsp);
  uint8_t* p = out.data();
  PutLe<uint32_t>(p + kRspDeviceId, v.device_id);
  PutLe<uint64_t>(p + kRspNsectors, v.nsectors);
  PutLe<uint32_t>(p + kRspMaxHwSectors, v.max_hw_sectors);
  PutLe<uint32_t>(p + kRspMaxWriteZeroes, v.max_write_zeroes_sectors);
  PutLe<uint32_t>(p + kRspMaxDiscard, v.max_discard_sectors);
  PutLe<uint32_t>(p + kRspDiscardGranularity, v.discard_granularity);
  PutLe<uint32_t>(p + kRspDiscardAlignment, v.discard_alignment);
  PutLe<uint16_t>(p + kRspPhysicalBlockSize, v.physical_block_size);
  PutLe<uint16_t>(p + kRspLogicalBlockSize, v.logical_block_size);
  PutLe<uint16_t>(p + kRspMaxSegments, v.max_segments);
  PutLe<uint16_t>(p + kRspSecureDiscard, v.secure_discard);
  p[kRspRotational] = v.rotational ? 1 : 0;
  p[kRspCachePolicy] = v.cache_policy;
  PutLe<uint64_t>(p + kRspWriteVerifier, v.write_verifier);
  return out;
}

absl::StatusOr<OpenRsp> DecodeOpenRsp(absl::Span<const uint8_t> bytes) {
  RTRS_RETURN_IF_ERROR(
      Check(bytes, RnbdType::kOpenRsp, OpenRsp::kSize, "OPEN_RSP"));
  const uint8_t* p = bytes.data();
  OpenRsp v;
  v.device_id = GetLe<uint32_t>(p + kRspDeviceId);
  v.nsectors = GetLe<uint64_t>(p + kRspNsectors);
  v.max_hw_sectors = GetLe<uint32_t>(p + kRspMaxHwSectors);
  v.max_write_zeroes_sectors = GetLe<uint32_t>(p + kRspMaxWriteZeroes);
  v.max_discard_sectors = GetLe<uint32_t>(p + kRspMaxDiscard);
  v.discard_granularity = GetLe<uint32_t>(p + kRspDiscardGranularity);
  v.discard_alignment = GetLe<uint32_t>(p + kRspDiscardAlignment);
  v.physical_block_size = GetLe<uint16_t>(p + kRspPhysicalBlockSize);
  v.logical_block_size = GetLe<uint16_t>(p + kRspLogicalBlockSize);
  v.max_segments = GetLe<uint16_t>(p + kRspMaxSegments);
  v.secure_discard = GetLe<uint16_t>(p + kRspSecureDiscard);
  v.rotational = p[kRspRotational] != 0;
  v.cache_policy = p[kRspCachePolicy];
  v.write_verifier = GetLe<uint64_t>(p + kRspWriteVerifier);
  return v;
}

const char* OpName(Op op) {
  switch (op) {
    case Op::kRead:
      return "read";
    case Op::kWrite:
      return "write";
    case Op::kFlush:
      return "flush";
    case Op::kDiscard:
      return "discard";
    case Op::kSecureErase:
      return "secure erase";
    case Op::kWriteZeroes:
      return "write zeroes";
  }
  return "unknown";
}

void EncodeIo(const Io& v, uint8_t* out) {
  std::memset(out, 0, Io::kSize);
  PutLe(out, static_cast<uint16_t>(RnbdType::kIo));
  PutLe<uint32_t>(out + kIoDeviceId, v.device_id);
  PutLe<uint64_t>(out + kIoSector, v.sector);
  PutLe<uint32_t>(out + kIoOpAndFlags,
                  static_cast<uint32_t>(v.op) | (v.flags & kKnownFlags));
  PutLe<uint32_t>(out + kIoLength, v.length);
  PutLe<uint16_t>(out + kIoPriority, v.priority);
}

absl::StatusOr<Io> DecodeIo(absl::Span<const uint8_t> bytes) {
  RTRS_RETURN_IF_ERROR(Check(bytes, RnbdType::kIo, Io::kMinSize, "IO"));
  const uint8_t* p = bytes.data();
  const uint32_t op_and_flags = GetLe<uint32_t>(p + kIoOpAndFlags);
  const uint32_t op = op_and_flags & kOpMask;
  if (op > static_cast<uint32_t>(Op::kWriteZeroes)) {
    return ErrnoError(EOPNOTSUPP,
                      absl::StrCat("IO with unknown operation ", op));
  }
  Io v;
  v.device_id = GetLe<uint32_t>(p + kIoDeviceId);
  v.sector = GetLe<uint64_t>(p + kIoSector);
  v.op = static_cast<Op>(op);
  v.flags = op_and_flags & kKnownFlags;
  v.length = GetLe<uint32_t>(p + kIoLength);
  if (bytes.size() >= Io::kSize) v.priority = GetLe<uint16_t>(p + kIoPriority);
  return v;
}

std::array<uint8_t, Close::kSize> Encode(const Close& v) {
  auto out = WithType<Close::kSize>(RnbdType::kClose);
  PutLe<uint32_t>(out.data() + kCloseDeviceId, v.device_id);
  return out;
}

absl::StatusOr<Close> DecodeClose(absl::Span<const uint8_t> bytes) {
  RTRS_RETURN_IF_ERROR(Check(bytes, RnbdType::kClose, Close::kSize, "CLOSE"));
  return Close{GetLe<uint32_t>(bytes.data() + kCloseDeviceId)};
}

}  // namespace rnbd::wire
