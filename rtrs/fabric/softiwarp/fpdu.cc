#include "rtrs/fabric/softiwarp/fpdu.h"

#include "rtrs/fabric/softiwarp/byte_order.h"
#include "rtrs/fabric/softiwarp/crc32c.h"

namespace rtrs::fabric::softiwarp {
namespace {

constexpr uint8_t kTagged = 0x80;
constexpr uint8_t kLast = 0x40;
constexpr uint8_t kDdpVersionMask = 0x03;
constexpr uint8_t kDdpVersion = 0x01;
constexpr uint8_t kRdmapVersionMask = 0xc0;
constexpr uint8_t kRdmapVersionBits = 0x40;
constexpr uint8_t kOpcodeMask = 0x0f;

}  // namespace

size_t EncodeFpduHeader(const FpduHeader& header, uint8_t* out) {
  PutBe16(out, static_cast<uint16_t>(header.size() - kLengthFieldSize +
                                     header.payload));
  out[2] = static_cast<uint8_t>((header.tagged ? kTagged : 0) |
                                (header.last ? kLast : 0) | kDdpVersion);
  out[3] = static_cast<uint8_t>(kRdmapVersionBits |
                                static_cast<uint8_t>(header.opcode));
  if (header.tagged) {
    PutBe32(out + 4, header.stag);
    PutBe64(out + 8, header.offset);
  } else {
    PutBe32(out + 4, header.invalidate_stag);
    PutBe32(out + 8, header.queue_number);
    PutBe32(out + 12, header.msn);
    PutBe32(out + 16, header.message_offset);
  }
  return header.size();
}

std::optional<Refusal> ParseFraming(const uint8_t* bytes, Framing* framing) {
  const uint32_t ulpdu = GetBe16(bytes);
  const size_t header =
      (bytes[2] & kTagged) != 0 ? kTaggedHeaderSize : kUntaggedHeaderSize;
  if (ulpdu < header || ulpdu > kMaxUlpdu) return Refusal{kRdmapUnspecified};
  framing->header_size = kLengthFieldSize + header;
  framing->fpdu_size = ((kLengthFieldSize + ulpdu + 3) & ~size_t{3}) + kCrcSize;
  return std::nullopt;
}

std::optional<Refusal> DecodeFpduHeader(const uint8_t* bytes,
                                        FpduHeader* header) {
  header->tagged = (bytes[2] & kTagged) != 0;
  header->last = (bytes[2] & kLast) != 0;
  header->opcode = static_cast<Opcode>(bytes[3] & kOpcodeMask);
  header->payload =
      static_cast<uint32_t>(GetBe16(bytes) + kLengthFieldSize - header->size());
  if ((bytes[2] & kDdpVersionMask) != kDdpVersion) {
    return Refusal{header->tagged ? kTaggedDdpVersion : kUntaggedDdpVersion};
  }
  if ((bytes[3] & kRdmapVersionMask) != kRdmapVersionBits) {
    return Refusal{kRdmapVersion, true};
  }
  if (header->tagged) {
    header->stag = GetBe32(bytes + 4);
    header->offset = GetBe64(bytes + 8);
  } else {
    header->invalidate_stag = GetBe32(bytes + 4);
    header->queue_number = GetBe32(bytes + 8);
    header->msn = GetBe32(bytes + 12);
    header->message_offset = GetBe32(bytes + 16);
  }
  switch (header->opcode) {
    case Opcode::kWrite:
      if (header->tagged) return std::nullopt;
      break;
    case Opcode::kSend:
    case Opcode::kSendInvalidate:
    case Opcode::kSendSolicited:
    case Opcode::kSendSolicitedInvalidate:
    case Opcode::kTerminate:
    case Opcode::kImmediate:
    case Opcode::kImmediateSolicited:
      if (!header->tagged) return std::nullopt;
      break;
    case Opcode::kReadRequest:
    case Opcode::kReadResponse:
      break;
  }
  return Refusal{kUnexpectedOpcode, true};
}

std::vector<uint8_t> TerminateFpdu(TerminateCode code,
                                   absl::Span<const uint8_t> offender,
                                   bool with_crc) {
  const std::vector<uint8_t> payload = EncodeTerminate(code, offender);
  FpduHeader header;
  header.opcode = Opcode::kTerminate;
  header.queue_number = kTerminateQueueNumber;
  header.msn = 1;
  header.payload = static_cast<uint32_t>(payload.size());
  std::vector<uint8_t> fpdu(kMaxHeaderSize);
  fpdu.resize(EncodeFpduHeader(header, fpdu.data()));
  fpdu.insert(fpdu.end(), payload.begin(), payload.end());
  fpdu.resize(fpdu.size() + header.pad());
  Crc32c crc;
  crc.Add(fpdu.data(), fpdu.size());
  fpdu.resize(fpdu.size() + kCrcSize);
  if (with_crc) PutLe32(&fpdu[fpdu.size() - kCrcSize], crc.value());
  return fpdu;
}

}  // namespace rtrs::fabric::softiwarp
