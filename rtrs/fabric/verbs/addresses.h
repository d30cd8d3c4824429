// Which addresses a device has.
#ifndef RTRS_FABRIC_VERBS_ADDRESSES_H_
#define RTRS_FABRIC_VERBS_ADDRESSES_H_

#include <infiniband/verbs.h>

#include <vector>

#include "rtrs/base/socket_address.h"

namespace rtrs::fabric::verbs {

// The addresses of this machine's interfaces that rdma_cm binds to the device
// `context`, port 0. Any thread; costs a few system calls for each address.
std::vector<SocketAddress> DeviceAddresses(const ibv_context* context);

}  // namespace rtrs::fabric::verbs

#endif  // RTRS_FABRIC_VERBS_ADDRESSES_H_
