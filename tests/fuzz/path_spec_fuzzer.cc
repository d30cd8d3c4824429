// What is printed of a path parses to the same path.
#include "rtrs/base/path_spec.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto spec = rtrs::ParsePathSpec(text, 1234);
  if (!spec.ok()) return 0;
  const auto again = rtrs::ParsePathSpec(spec->ToString(), 1234);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(again->ToString() == spec->ToString());
  return 0;
}
