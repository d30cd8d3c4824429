// Fixed-width integers in byte arrays: little endian for messages, big endian
// for immediates and iWARP. Never casts, so positions may be unaligned.
//
// Every function reads or writes exactly sizeof(T) bytes at `p`; the caller
// has checked that they are there.
#ifndef RTRS_WIRE_CODING_H_
#define RTRS_WIRE_CODING_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace rtrs::wire {

template <typename T>
constexpr T SwapBytes(T v) {
  static_assert(std::is_unsigned_v<T>);
  if constexpr (sizeof(T) == 1) return v;
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(v);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(v);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(v);
}

template <typename T>
inline T GetLe(const uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof(v));
  return std::endian::native == std::endian::little ? v : SwapBytes(v);
}

template <typename T>
inline T GetBe(const uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof(v));
  return std::endian::native == std::endian::big ? v : SwapBytes(v);
}

template <typename T>
inline void PutLe(uint8_t* p, T v) {
  if constexpr (std::endian::native != std::endian::little) v = SwapBytes(v);
  std::memcpy(p, &v, sizeof(v));
}

template <typename T>
inline void PutBe(uint8_t* p, T v) {
  if constexpr (std::endian::native != std::endian::big) v = SwapBytes(v);
  std::memcpy(p, &v, sizeof(v));
}

}  // namespace rtrs::wire

#endif  // RTRS_WIRE_CODING_H_
