// GIDs and IP addresses are the same thing in RoCEv2. roce.md §12.3.
#ifndef RTRS_FABRIC_SOFTROCE_GID_H_
#define RTRS_FABRIC_SOFTROCE_GID_H_

#include <cstring>

#include "rtrs/base/socket_address.h"
#include "rtrs/fabric/softroce/cm_messages.h"

namespace rtrs::softroce {

inline Gid GidOf(const SocketAddress& address) {
  Gid gid{};
  if (address.family() == AF_INET) {
    gid[10] = gid[11] = 0xFF;
    std::memcpy(&gid[12],
                &reinterpret_cast<const sockaddr_in*>(address.addr())->sin_addr,
                4);
  } else if (address.family() == AF_INET6) {
    std::memcpy(
        gid.data(),
        &reinterpret_cast<const sockaddr_in6*>(address.addr())->sin6_addr,
        gid.size());
  }
  return gid;
}

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_GID_H_
