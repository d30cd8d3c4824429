#include "rtrs/fabric/softiwarp/mpa.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "rtrs/fabric/softiwarp/byte_order.h"

namespace rtrs::fabric::softiwarp {
namespace {

constexpr size_t kKeySize = 16;
constexpr char kRequestKey[] = "MPA ID Req Frame";
constexpr char kReplyKey[] = "MPA ID Rep Frame";
static_assert(sizeof(kRequestKey) == kKeySize + 1);

constexpr uint8_t kMarkers = 0x80;
constexpr uint8_t kCrc = 0x40;
constexpr uint8_t kRejected = 0x20;
constexpr uint8_t kEnhanced = 0x10;

constexpr uint16_t kHighBit = 0x8000;
constexpr uint16_t kSecondBit = 0x4000;
constexpr uint16_t kDepthMask = 0x3fff;

constexpr uint8_t kPrefix[4] = {'S', 'W', 'F', '1'};

void Append16(std::vector<uint8_t>* out, uint16_t v) {
  out->push_back(static_cast<uint8_t>(v >> 8));
  out->push_back(static_cast<uint8_t>(v));
}

MpaParse Malformed(std::string problem) {
  return {MpaParse::Result::kMalformed, 0, std::move(problem)};
}

}  // namespace

std::vector<uint8_t> EncodeMpaFrame(const MpaFrame& frame) {
  std::vector<uint8_t> out;
  out.reserve(kMpaMaxFrame);
  const char* key = frame.reply ? kReplyKey : kRequestKey;
  out.insert(out.end(), key, key + kKeySize);
  out.push_back(static_cast<uint8_t>(
      (frame.markers ? kMarkers : 0) | (frame.crc ? kCrc : 0) |
      (frame.rejected ? kRejected : 0) | (frame.enhanced ? kEnhanced : 0)));
  out.push_back(frame.revision);
  Append16(&out, 0);
  if (frame.enhanced) {
    const MpaEnhanced& e = *frame.enhanced;
    Append16(&out, static_cast<uint16_t>((e.peer_to_peer ? kHighBit : 0) |
                                         (e.rtr_send ? kSecondBit : 0) |
                                         (e.ird & kDepthMask)));
    Append16(&out, static_cast<uint16_t>((e.rtr_write ? kHighBit : 0) |
                                         (e.rtr_read ? kSecondBit : 0) |
                                         (e.ord & kDepthMask)));
  }
  if (frame.capabilities) {
    out.insert(out.end(), std::begin(kPrefix), std::end(kPrefix));
    Append16(&out, frame.capabilities->bits);
    Append16(&out, frame.capabilities->max_ulpdu);
  }
  out.insert(out.end(), frame.user_data.begin(), frame.user_data.end());
  PutBe16(&out[kMpaHeaderSize - 2],
          static_cast<uint16_t>(out.size() - kMpaHeaderSize));
  return out;
}

MpaParse ParseMpaFrame(absl::Span<const uint8_t> bytes, bool reply,
                       MpaFrame* frame) {
  if (bytes.empty()) return {};
  const char* key = reply ? kReplyKey : kRequestKey;
  if (memcmp(bytes.data(), key, std::min(bytes.size(), kKeySize)) != 0) {
    return Malformed(
        absl::StrCat("no MPA ", reply ? "Reply" : "Request", ": wrong key"));
  }
  if (bytes.size() < kMpaHeaderSize) return {};
  const uint8_t flags = bytes[kKeySize];
  const uint8_t revision = bytes[kKeySize + 1];
  const size_t length = GetBe16(&bytes[kKeySize + 2]);
  if (revision < 1 || revision > 2) {
    return Malformed(absl::StrCat("MPA revision ", revision));
  }
  if (length > kMpaMaxPrivateData) {
    return Malformed(absl::StrCat("MPA private data of ", length, " bytes"));
  }
  const bool enhanced = revision >= 2 && (flags & kEnhanced) != 0;
  if (enhanced && length < kMpaEnhancedSize) {
    return Malformed("MPA private data too short for enhanced set-up");
  }
  if (bytes.size() < kMpaHeaderSize + length) return {};

  *frame = MpaFrame();
  frame->reply = reply;
  frame->markers = (flags & kMarkers) != 0;
  frame->crc = (flags & kCrc) != 0;
  frame->rejected = reply && (flags & kRejected) != 0;
  frame->revision = revision;
  absl::Span<const uint8_t> data = bytes.subspan(kMpaHeaderSize, length);
  if (enhanced) {
    const uint16_t word0 = GetBe16(&data[0]);
    const uint16_t word1 = GetBe16(&data[2]);
    MpaEnhanced& e = frame->enhanced.emplace();
    e.peer_to_peer = (word0 & kHighBit) != 0;
    e.rtr_send = e.peer_to_peer && (word0 & kSecondBit) != 0;
    e.rtr_write = e.peer_to_peer && (word1 & kHighBit) != 0;
    e.rtr_read = e.peer_to_peer && (word1 & kSecondBit) != 0;
    e.ird = word0 & kDepthMask;
    e.ord = word1 & kDepthMask;
    data.remove_prefix(kMpaEnhancedSize);
  }
  MpaParse parse{MpaParse::Result::kDone, kMpaHeaderSize + length, ""};
  if (data.size() >= kMpaPrefixSize &&
      memcmp(data.data(), kPrefix, sizeof(kPrefix)) == 0) {
    MpaCapabilities& c = frame->capabilities.emplace();
    c.bits = GetBe16(&data[4]);
    c.max_ulpdu = GetBe16(&data[6]);
    if (c.max_ulpdu < kMinUlpdu || c.max_ulpdu > kMaxUlpdu) {
      parse.result = MpaParse::Result::kRefused;
      parse.problem =
          absl::StrCat("announced ULPDU limit of ", c.max_ulpdu,
                       " is not within ", kMinUlpdu, " and ", kMaxUlpdu);
    }
    data.remove_prefix(kMpaPrefixSize);
  }
  frame->user_data.assign(data.begin(), data.end());
  return parse;
}

}  // namespace rtrs::fabric::softiwarp
