#include "rtrs/wire/capabilities.h"

#include <cstring>

#include "rtrs/wire/coding.h"

namespace rtrs::wire {
namespace {

constexpr uint8_t kMark[4] = {'R', 'N', 'U', '1'};

}  // namespace

void EncodeCapabilities(const Capabilities& v, uint8_t* out) {
  std::memset(out, 0, Capabilities::kSize);
  if (v.bits == 0) return;
  std::memcpy(out, kMark, sizeof(kMark));
  PutLe<uint32_t>(out + 4, v.bits);
}

Capabilities DecodeCapabilities(absl::Span<const uint8_t> bytes) {
  if (std::memcmp(bytes.data(), kMark, sizeof(kMark)) != 0) return {};
  return {GetLe<uint32_t>(bytes.data() + 4)};
}

}  // namespace rtrs::wire
