#include "rtrs/wire/immediate.h"

#include <errno.h>

namespace rtrs::wire {

uint32_t EncodeIoResponseImm(const IoResponseImm& v) {
  const ImmType type =
      v.invalidated ? ImmType::kIoResponseInv : ImmType::kIoResponse;
  const int error = v.error < 0 || v.error > kMaxWireErrno ? EIO : v.error;
  return static_cast<uint32_t>(type) << kImmPayloadBits |
         static_cast<uint32_t>(error) << kMsgIdBits |
         (v.msg_id & ((1u << kMsgIdBits) - 1));
}

}  // namespace rtrs::wire
