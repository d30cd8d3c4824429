// The CRC-32 of Ethernet, zlib and the ICRC. roce.md §3.
//
// Any thread.
#ifndef RTRS_FABRIC_SOFTROCE_CRC32_H_
#define RTRS_FABRIC_SOFTROCE_CRC32_H_

#include <cstdint>

#include "absl/types/span.h"

namespace rtrs::softroce {

inline constexpr uint32_t kCrc32Polynomial = 0xEDB88320;  // bit 31 is x^0

// CRC-32 as in zlib over `data`, chained through `crc` (0 at first).
uint32_t Crc32(uint32_t crc, absl::Span<const uint8_t> data);

// The same without carry-less multiplication, which not every processor of a
// virtual machine has: Crc32 chooses. ISA-L takes a byte at a time there.
uint32_t Crc32ByTables(uint32_t crc, absl::Span<const uint8_t> data);

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_CRC32_H_
