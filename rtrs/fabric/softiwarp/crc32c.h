// CRC32c as MPA uses it. spec/iwarp.md §2.4.
#ifndef RTRS_FABRIC_SOFTIWARP_CRC32C_H_
#define RTRS_FABRIC_SOFTIWARP_CRC32C_H_

#include <cstddef>
#include <cstdint>

namespace rtrs::fabric::softiwarp {

// The checksum of pieces fed in order. On the wire value() is the only field
// that is little endian.
class Crc32c {
 public:
  void Add(const void* bytes, size_t length);
  uint32_t value() const { return ~state_; }

 private:
  uint32_t state_ = ~uint32_t{0};
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_CRC32C_H_
