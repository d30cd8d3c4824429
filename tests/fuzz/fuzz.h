// What the libFuzzer targets share. Each target feeds arbitrary bytes to one
// decoder; what it accepts must survive encode and decode unchanged.
#ifndef TESTS_FUZZ_FUZZ_H_
#define TESTS_FUZZ_FUZZ_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "absl/types/span.h"

// Ends the run as a crash, NDEBUG or not.
#define FUZZ_CHECK(condition)                                           \
  do {                                                                  \
    if (!(condition)) {                                                 \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, \
                   #condition);                                         \
      std::abort();                                                     \
    }                                                                   \
  } while (false)

namespace rtrs {

// `decode(bytes)` gives absl::StatusOr<Message>, `encode(message)` bytes.
template <typename Decode, typename Encode>
void CheckRoundTrip(absl::Span<const uint8_t> bytes, Decode decode,
                    Encode encode) {
  const auto first = decode(bytes);
  if (!first.ok()) return;
  const auto encoded = encode(*first);
  const auto second = decode(absl::MakeConstSpan(encoded));
  FUZZ_CHECK(second.ok());
  FUZZ_CHECK(*first == *second);
}

}  // namespace rtrs

// The entry point that libFuzzer calls.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

#endif  // TESTS_FUZZ_FUZZ_H_
