// Bytes as tests write them down.
#ifndef TESTS_WIRE_BYTES_H_
#define TESTS_WIRE_BYTES_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

namespace rtrs::wire {

// "AB CD" to bytes, filled with zeros up to `size`.
inline std::vector<uint8_t> Bytes(absl::string_view hex, size_t size = 0) {
  const std::string raw =
      absl::HexStringToBytes(absl::StrReplaceAll(hex, {{" ", ""}}));
  std::vector<uint8_t> out(raw.begin(), raw.end());
  out.resize(std::max(size, out.size()));
  return out;
}

}  // namespace rtrs::wire

#endif  // TESTS_WIRE_BYTES_H_
