// The text of a status, for matchers that want a string.
#ifndef TESTS_GATEWAY_MESSAGE_H_
#define TESTS_GATEWAY_MESSAGE_H_

#include <string>

#include "absl/status/status.h"

namespace rnbd::gateway {

inline std::string Message(const absl::Status& status) {
  return std::string(status.message());
}

}  // namespace rnbd::gateway

#endif  // TESTS_GATEWAY_MESSAGE_H_
