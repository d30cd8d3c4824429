// softiwarp: the fabric that is iWARP (RFC 5040, 5041, 5044, 6581, 7306) over
// TCP inside the process. spec/iwarp.md; what is ours alone is marked [D]
// there.
//
//   auto fabric = NewSoftiwarp({}, SystemTcpTransport(), Clock::System(),
//                              Random::System());
//
// Threads are as in fabric.h; `random` must be usable from every thread that
// registers memory. The three doors outlive the fabric.
#ifndef RTRS_FABRIC_SOFTIWARP_SOFTIWARP_H_
#define RTRS_FABRIC_SOFTIWARP_SOFTIWARP_H_

#include <memory>

#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/softiwarp/transport.h"

namespace rtrs::fabric {

struct SoftiwarpOptions {
  // Checksums of frames, beyond those of TCP and the link. They are on in both
  // directions if either end wants them.
  enum class Crc {
    kAuto,  // wanted unless the peer is on this host. A local tunnel (ssh -L)
            // looks like this host although the bytes leave it: say kOn there.
    kOn,
    kOff,
  };
  Crc crc = Crc::kAuto;
};

std::unique_ptr<Fabric> NewSoftiwarp(const SoftiwarpOptions& options,
                                     Transport* transport, Clock* clock,
                                     Random* random);

}  // namespace rtrs::fabric

#endif  // RTRS_FABRIC_SOFTIWARP_SOFTIWARP_H_
