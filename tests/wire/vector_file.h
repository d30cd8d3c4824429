// Reads the files of tests/data/vectors: hex digits, comment lines with '#'.
#ifndef TESTS_WIRE_VECTOR_FILE_H_
#define TESTS_WIRE_VECTOR_FILE_H_

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"

namespace rtrs::wire {

// Empty when there is no such file, which no vector is.
inline std::vector<uint8_t> ReadVector(const std::string& name) {
  std::ifstream file(std::string(TEST_DATA_DIR "/vectors/") + name);
  std::string hex;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line[0] != '#') hex += line;
  }
  const std::string bytes = absl::HexStringToBytes(hex);
  return {bytes.begin(), bytes.end()};
}

}  // namespace rtrs::wire

#endif  // TESTS_WIRE_VECTOR_FILE_H_
