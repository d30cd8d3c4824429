// Big endian fields of iWARP headers.
#ifndef RTRS_FABRIC_SOFTIWARP_BYTE_ORDER_H_
#define RTRS_FABRIC_SOFTIWARP_BYTE_ORDER_H_

#include <endian.h>

#include <cstdint>
#include <cstring>

namespace rtrs::fabric::softiwarp {

inline void PutBe16(uint8_t* at, uint16_t v) {
  v = htobe16(v);
  memcpy(at, &v, sizeof(v));
}
inline void PutBe32(uint8_t* at, uint32_t v) {
  v = htobe32(v);
  memcpy(at, &v, sizeof(v));
}
inline void PutBe64(uint8_t* at, uint64_t v) {
  v = htobe64(v);
  memcpy(at, &v, sizeof(v));
}
inline void PutLe32(uint8_t* at, uint32_t v) {
  v = htole32(v);
  memcpy(at, &v, sizeof(v));
}
inline uint16_t GetBe16(const uint8_t* at) {
  uint16_t v;
  memcpy(&v, at, sizeof(v));
  return be16toh(v);
}
inline uint32_t GetBe32(const uint8_t* at) {
  uint32_t v;
  memcpy(&v, at, sizeof(v));
  return be32toh(v);
}
inline uint64_t GetBe64(const uint8_t* at) {
  uint64_t v;
  memcpy(&v, at, sizeof(v));
  return be64toh(v);
}
inline uint32_t GetLe32(const uint8_t* at) {
  uint32_t v;
  memcpy(&v, at, sizeof(v));
  return le32toh(v);
}

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_BYTE_ORDER_H_
