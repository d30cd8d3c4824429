#include <array>

#include "rtrs/wire/rnbd_messages.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  rtrs::CheckRoundTrip({data, size}, rnbd::wire::DecodeIo,
                       [](const rnbd::wire::Io& v) {
                         std::array<uint8_t, rnbd::wire::Io::kSize> out;
                         EncodeIo(v, out.data());
                         return out;
                       });
  return 0;
}
