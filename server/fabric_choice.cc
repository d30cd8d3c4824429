#include "server/fabric_choice.h"

#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/softiwarp/tcp_transport.h"

namespace rnbd::server {

absl::StatusOr<std::vector<std::unique_ptr<rtrs::fabric::Fabric>>> MakeFabrics(
    FabricChoice choice, rtrs::fabric::SoftiwarpOptions::Crc crc) {
  std::vector<std::unique_ptr<rtrs::fabric::Fabric>> fabrics;
  switch (choice) {
    case FabricChoice::kAuto:
    case FabricChoice::kSoftiwarp:
      fabrics.push_back(rtrs::fabric::NewSoftiwarp(
          {crc}, rtrs::fabric::SystemTcpTransport(), rtrs::Clock::System(),
          rtrs::Random::System()));
      break;
  }
  return fabrics;
}

}  // namespace rnbd::server
