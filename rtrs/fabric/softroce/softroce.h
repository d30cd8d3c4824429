// softroce: the fabric that is RoCEv2 inside the process, over UDP port 4791.
// spec/roce.md. It reaches kernels (rdma_rxe) and NICs from a machine that has
// no RDMA device, and serves them.
//
//   auto fabric = NewSoftroce({}, SystemHost());
//
// All fabrics of a process share a Host, because only one socket can have the
// port of an address. Threads are as in fabric.h. Errors: EADDRINUSE when the
// port belongs to somebody else, with who and what to do.
#ifndef RTRS_FABRIC_SOFTROCE_SOFTROCE_H_
#define RTRS_FABRIC_SOFTROCE_SOFTROCE_H_

#include <memory>

#include "rtrs/fabric/fabric.h"

namespace rtrs::softroce {

class Host;

struct SoftroceOptions {
  // Where the port is taken, Listen says ENODEV, as a fabric whose device is
  // not there: the others may serve.
  bool optional = false;
};

// The Host on the kernel's UDP sockets. Never destroyed; any thread.
Host* SystemHost();

// `host` outlives the fabric.
std::unique_ptr<fabric::Fabric> NewSoftroce(const SoftroceOptions& options,
                                            Host* host);

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_SOFTROCE_H_
