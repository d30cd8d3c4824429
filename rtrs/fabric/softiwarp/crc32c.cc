#include "rtrs/fabric/softiwarp/crc32c.h"

#include <isa-l/crc.h>

namespace rtrs::fabric::softiwarp {

void Crc32c::Add(const void* bytes, size_t length) {
  // crc32_iscsi takes and gives the bare register: it neither inverts the
  // start value nor the result. It reads only, whatever its signature says.
  state_ = crc32_iscsi(
      const_cast<unsigned char*>(static_cast<const unsigned char*>(bytes)),
      static_cast<int>(length), state_);
}

}  // namespace rtrs::fabric::softiwarp
