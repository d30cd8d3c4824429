// Numbers that make a test longer or shorter, from environment variables.
#ifndef TESTS_SUPPORT_ENVIRONMENT_H_
#define TESTS_SUPPORT_ENVIRONMENT_H_

#include <cstdint>
#include <cstdlib>

#include "absl/strings/numbers.h"

namespace rtrs {

// The variable `name` as a number; `otherwise` when it is not set or is none.
inline uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}

}  // namespace rtrs

#endif  // TESTS_SUPPORT_ENVIRONMENT_H_
