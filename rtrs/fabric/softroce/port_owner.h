// Who has UDP port 4791 of an address, for error messages. roce.md §13, §15.
// Any thread; reads /proc and /sys.
#ifndef RTRS_FABRIC_SOFTROCE_PORT_OWNER_H_
#define RTRS_FABRIC_SOFTROCE_PORT_OWNER_H_

#include <string>

#include "rtrs/base/socket_address.h"

namespace rtrs::softroce {

// The RDMA device that has `address` among its RoCEv2 GIDs, "" if none. A
// packet to it never reaches a socket.
std::string FindRdmaDevice(const SocketAddress& address);

// To be put behind "port ... is taken": by whom, if that can be known, and
// what to do about it.
std::string DescribePortOwner(const SocketAddress& address);

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_PORT_OWNER_H_
