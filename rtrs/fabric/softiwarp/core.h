// What all objects of one softiwarp fabric share. Any thread.
#ifndef RTRS_FABRIC_SOFTIWARP_CORE_H_
#define RTRS_FABRIC_SOFTIWARP_CORE_H_

#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/region_table.h"
#include "rtrs/fabric/softiwarp/softiwarp.h"
#include "rtrs/fabric/softiwarp/transport.h"

namespace rtrs::fabric::softiwarp {

struct Core {
  Core(const SoftiwarpOptions& o, Transport* t, Clock* c, Random* r)
      : options(o), transport(t), clock(c), stags(r) {}

  // Whether this end asks for CRCs on `stream`.
  bool WantsCrc(const ByteStream& stream) const {
    switch (options.crc) {
      case SoftiwarpOptions::Crc::kOn:
        return true;
      case SoftiwarpOptions::Crc::kOff:
        return false;
      case SoftiwarpOptions::Crc::kAuto:
        break;
    }
    return !stream.stays_on_host();
  }

  const SoftiwarpOptions options;
  Transport* const transport;
  Clock* const clock;
  RegionTable stags;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_CORE_H_
