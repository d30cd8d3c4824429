#include <vector>

#include "rtrs/wire/rtrs_messages.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  rtrs::CheckRoundTrip(
      {data, size}, rtrs::wire::DecodeIoHeader,
      [](const rtrs::wire::IoHeader& v) {
        std::vector<uint8_t> out(rtrs::wire::IoHeader::kMaxSize);
        out.resize(EncodeIoHeader(v, out.data()));
        return out;
      });
  return 0;
}
