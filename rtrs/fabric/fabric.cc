#include "rtrs/fabric/fabric.h"

#include <errno.h>

#include "rtrs/base/errno_status.h"

namespace rtrs::fabric {

const char* CmEventName(CmEvent::Type type) {
  switch (type) {
    case CmEvent::Type::kConnectRequest:
      return "connect request";
    case CmEvent::Type::kEstablished:
      return "established";
    case CmEvent::Type::kRejected:
      return "rejected";
    case CmEvent::Type::kConnectError:
      return "connect error";
    case CmEvent::Type::kDisconnected:
      return "disconnected";
    case CmEvent::Type::kDeviceRemoved:
      return "device removed";
  }
  return "unknown";
}

absl::StatusOr<std::unique_ptr<MemoryWindow>> ProtectionDomain::AllocWindow() {
  return ErrnoError(EOPNOTSUPP, "this device has no memory windows");
}

absl::StatusOr<uint32_t> QueuePair::BindWindow(const BindWr& /*wr*/) {
  return ErrnoError(EOPNOTSUPP, "this device has no memory windows");
}

const char* WcStatusName(WcStatus status) {
  switch (status) {
    case WcStatus::kSuccess:
      return "success";
    case WcStatus::kFlushed:
      return "flushed";
    case WcStatus::kLocalLength:
      return "local length error";
    case WcStatus::kLocalProtection:
      return "local protection error";
    case WcStatus::kRemoteAccess:
      return "remote access error";
    case WcStatus::kRemoteInvalid:
      return "remote invalid request error";
    case WcStatus::kRetryExceeded:
      return "retry count exceeded";
    case WcStatus::kRnrRetryExceeded:
      return "receiver-not-ready retry count exceeded";
    case WcStatus::kFatal:
      return "fatal error";
  }
  return "unknown";
}

}  // namespace rtrs::fabric
