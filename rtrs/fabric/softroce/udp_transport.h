// The DatagramTransport on the kernel's UDP sockets: UDP_SEGMENT and UDP_GRO
// where the kernel has them, batches of messages in one system call, path MTU
// discovery on so that nothing is fragmented. roce.md §3.
#ifndef RTRS_FABRIC_SOFTROCE_UDP_TRANSPORT_H_
#define RTRS_FABRIC_SOFTROCE_UDP_TRANSPORT_H_

#include "rtrs/fabric/softroce/datagram_transport.h"

namespace rtrs::softroce {

// Never destroyed; any thread.
DatagramTransport* SystemUdpTransport();

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_UDP_TRANSPORT_H_
