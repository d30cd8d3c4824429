#include "rtrs/fabric/softiwarp/terminate.h"

#include <cstring>

#include "absl/strings/str_format.h"

namespace rtrs::fabric::softiwarp {
namespace {

constexpr uint8_t kSegmentLengthValid = 0x80;
constexpr uint8_t kDdpHeaderIncluded = 0x40;
constexpr uint8_t kTagged = 0x80;
constexpr size_t kControlSize = 4;
constexpr size_t kLengthSize = 2;
constexpr size_t kTaggedHeader = 14;
constexpr size_t kUntaggedHeader = 18;

struct Name {
  TerminateCode code;
  const char* text;
};

constexpr Name kNames[] = {
    {kLocalCatastrophic, "local catastrophic error"},
    {{0x01, 0x00}, "invalid STag"},
    {{0x01, 0x01}, "base or bounds violation"},
    {{0x01, 0x02}, "access rights violation"},
    {kInvalidateForeignStag, "STag to invalidate is not of this stream"},
    {{0x01, 0x04}, "offset wrap"},
    {kInvalidateRefused, "STag cannot be invalidated"},
    {kRdmapVersion, "invalid RDMAP version"},
    {kUnexpectedOpcode, "unexpected opcode"},
    {{0x02, 0x07}, "catastrophic error of the stream"},
    {{0x02, 0x08}, "catastrophic error"},
    {kInvalidateUnknownStag, "STag to invalidate is unknown"},
    {kRdmapUnspecified, "unspecified error"},
    {{0x10, 0x00}, "local catastrophic error"},
    {kTaggedInvalidStag, "invalid STag"},
    {kTaggedBounds, "base or bounds violation"},
    {kTaggedForeignStag, "STag is not of this stream"},
    {kTaggedOffsetWrap, "offset wrap"},
    {kTaggedDdpVersion, "invalid DDP version"},
    {kUntaggedQueueNumber, "invalid queue number"},
    {kUntaggedNoBuffer, "no receive posted"},
    {kUntaggedMsnRange, "message sequence number out of range"},
    {kUntaggedOffset, "invalid message offset"},
    {kUntaggedTooLong, "message longer than the receive"},
    {kUntaggedDdpVersion, "invalid DDP version"},
    {{0x20, 0x01}, "TCP connection lost"},
    {kMpaCrc, "CRC error"},
    {{0x20, 0x03}, "marker and length mismatch"},
    {{0x20, 0x04}, "invalid MPA request or reply"},
    {{0x20, 0x05}, "local catastrophic error"},
    {{0x20, 0x06}, "insufficient IRD"},
    {kMpaNoMatchingRtr, "no matching RTR"},
};

}  // namespace

std::string TerminateName(TerminateCode code) {
  const char* text = "unknown error";
  for (const Name& name : kNames) {
    if (name.code == code) text = name.text;
  }
  return absl::StrFormat("%d/%d/%02x %s", code.layer_type >> 4,
                         code.layer_type & 15, code.code, text);
}

std::vector<uint8_t> EncodeTerminate(TerminateCode code,
                                     absl::Span<const uint8_t> offender) {
  std::vector<uint8_t> payload(kControlSize + offender.size());
  payload[0] = code.layer_type;
  payload[1] = code.code;
  if (!offender.empty()) {
    payload[2] = kSegmentLengthValid | kDdpHeaderIncluded;
    memcpy(&payload[kControlSize], offender.data(), offender.size());
  }
  return payload;
}

Terminate ParseTerminate(absl::Span<const uint8_t> payload) {
  Terminate result;
  if (payload.size() < kControlSize) {
    result.code = kRdmapUnspecified;
    return result;
  }
  result.code = {payload[0], payload[1]};
  const bool has_header = (payload[2] & kDdpHeaderIncluded) != 0;
  payload.remove_prefix(kControlSize);
  if (!has_header || payload.size() <= kLengthSize) return result;
  const size_t header =
      kLengthSize +
      ((payload[kLengthSize] & kTagged) != 0 ? kTaggedHeader : kUntaggedHeader);
  if (payload.size() < header) return result;
  result.offender.assign(payload.begin(),
                         payload.begin() + static_cast<ssize_t>(header));
  return result;
}

WcStatus WcStatusOf(TerminateCode code) {
  if (code == kUntaggedNoBuffer) return WcStatus::kRnrRetryExceeded;
  switch (code.layer_type) {
    case 0x01:
    case 0x11:
      return WcStatus::kRemoteAccess;
    case 0x02:
    case 0x12:
      return WcStatus::kRemoteInvalid;
    default:
      return WcStatus::kFatal;
  }
}

}  // namespace rtrs::fabric::softiwarp
