#include "rtrs/fabric/softroce/crc32.h"

#include <isa-l/crc.h>

#include <array>
#include <cstddef>

#include "rtrs/wire/coding.h"

namespace rtrs::softroce {
namespace {

constexpr size_t kStep = 16;  // bytes taken at once

using Table = std::array<uint32_t, 256>;

// Table i: what a byte does to the register with i more bytes behind it.
constexpr std::array<Table, kStep> kTables = [] {
  std::array<Table, kStep> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? kCrc32Polynomial : 0);
    }
    tables[0][byte] = crc;
  }
  for (size_t i = 1; i < kStep; ++i) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables[i - 1][byte];
      tables[i][byte] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}();

// Eight bytes with kTables[first + 7] to kTables[first].
uint32_t Fold(uint64_t bytes, size_t first) {
  uint32_t crc = 0;
  for (size_t i = 0; i < 8; ++i) {
    crc ^= kTables[first + 7 - i][(bytes >> (8 * i)) & 0xFF];
  }
  return crc;
}

bool HasCarrylessMultiply() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("pclmul") != 0;
#else
  return true;  // or what ISA-L has instead
#endif
}

}  // namespace

uint32_t Crc32ByTables(uint32_t crc, absl::Span<const uint8_t> data) {
  crc = ~crc;
  for (; data.size() >= kStep; data.remove_prefix(kStep)) {
    const uint64_t low = wire::GetLe<uint64_t>(data.data());
    const uint64_t high = wire::GetLe<uint64_t>(data.data() + 8);
    crc = Fold(low ^ crc, 8) ^ Fold(high, 0);
  }
  for (const uint8_t byte : data) {
    crc = (crc >> 8) ^ kTables[0][(crc ^ byte) & 0xFF];
  }
  return ~crc;
}

uint32_t Crc32(uint32_t crc, absl::Span<const uint8_t> data) {
  static const bool multiply = HasCarrylessMultiply();
  if (!multiply) return Crc32ByTables(crc, data);
  return crc32_gzip_refl(crc, data.data(), data.size());
}

}  // namespace rtrs::softroce
