#include "rtrs/wire/rtrs_messages.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  rtrs::CheckRoundTrip({data, size}, rtrs::wire::DecodeInfoRequest,
                       [](const auto& v) { return Encode(v); });
  return 0;
}
