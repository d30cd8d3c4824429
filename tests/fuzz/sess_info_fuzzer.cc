// SESS_INFO, its response, and the type that every RNBD message begins with.
#include "rtrs/wire/rnbd_messages.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using rnbd::wire::RnbdType;
  const absl::Span<const uint8_t> bytes(data, size);
  rtrs::CheckRoundTrip(bytes, rnbd::wire::DecodeSessInfo,
                       rnbd::wire::EncodeSessInfo);
  rtrs::CheckRoundTrip(bytes, rnbd::wire::DecodeSessInfoRsp,
                       rnbd::wire::EncodeSessInfoRsp);
  const auto type = rnbd::wire::DecodeType(bytes);
  if (rnbd::wire::DecodeSessInfo(bytes).ok()) {
    FUZZ_CHECK(type.ok() && *type == RnbdType::kSessInfo);
  }
  if (rnbd::wire::DecodeSessInfoRsp(bytes).ok()) {
    FUZZ_CHECK(type.ok() && *type == RnbdType::kSessInfoRsp);
  }
  return 0;
}
