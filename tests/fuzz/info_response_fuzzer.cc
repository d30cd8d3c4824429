// Input: queue depth (LE16) and chunk size (LE32) of the session, then the
// message.
#include "rtrs/wire/coding.h"
#include "rtrs/wire/rtrs_messages.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kSessionSize = 6;
  if (size < kSessionSize) return 0;
  const uint32_t queue_depth = rtrs::wire::GetLe<uint16_t>(data);
  const uint32_t chunk_size = rtrs::wire::GetLe<uint32_t>(data + 2);
  if (queue_depth == 0) return 0;
  const auto decode = [&](absl::Span<const uint8_t> bytes) {
    return rtrs::wire::DecodeInfoResponse(bytes, queue_depth, chunk_size);
  };
  const absl::Span<const uint8_t> message(data + kSessionSize,
                                          size - kSessionSize);
  rtrs::CheckRoundTrip(message, decode,
                       [](const auto& v) { return Encode(v); });
  if (const auto v = decode(message); v.ok()) {
    uint64_t chunks = 0;
    for (const rtrs::wire::Descriptor& d : v->descriptors) {
      FUZZ_CHECK(d.address + d.length >= d.address);
      chunks += d.length / chunk_size;
    }
    FUZZ_CHECK(chunks == queue_depth);
  }
  return 0;
}
