// TCP sockets and epoll. spec/iwarp.md §5.1.
#ifndef RTRS_FABRIC_SOFTIWARP_TCP_TRANSPORT_H_
#define RTRS_FABRIC_SOFTIWARP_TCP_TRANSPORT_H_

#include "rtrs/fabric/softiwarp/transport.h"

namespace rtrs::fabric {

// The host's TCP. Never destroyed; any thread.
Transport* SystemTcpTransport();

}  // namespace rtrs::fabric

#endif  // RTRS_FABRIC_SOFTIWARP_TCP_TRANSPORT_H_
