#include "server/fabric_choice.h"

#include <errno.h>

#include <algorithm>
#include <string>

#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/softiwarp/tcp_transport.h"
#include "rtrs/fabric/softroce/softroce.h"
#include "rtrs/fabric/verbs/verbs.h"

namespace rnbd::server {
namespace {

using Fabrics = std::vector<std::unique_ptr<rtrs::fabric::Fabric>>;

// A device that cannot be opened must not keep the others from serving.
void AddRdmaDevices(Fabrics* fabrics) {
  for (const std::string& name : rtrs::fabric::verbs::ListDevices()) {
    auto fabric = rtrs::fabric::verbs::OpenDevice(name);
    if (fabric.ok()) {
      fabrics->push_back(*std::move(fabric));
    } else {
      RTRS_LOG(warn, "not serving over {}: {}", name, fabric.status());
    }
  }
}

}  // namespace

uint32_t DefaultWorkers(uint32_t processors, bool rdma_device) {
  return std::clamp(rdma_device ? processors : processors / 2, 1u, 8u);
}

absl::StatusOr<Fabrics> MakeFabrics(FabricChoice choice,
                                    rtrs::fabric::SoftiwarpOptions::Crc crc) {
  Fabrics fabrics;
  const bool all = choice == FabricChoice::kAuto;
  if (all || choice == FabricChoice::kVerbs) AddRdmaDevices(&fabrics);
  if (all || choice == FabricChoice::kSoftiwarp) {
    fabrics.push_back(rtrs::fabric::NewSoftiwarp(
        {crc}, rtrs::fabric::SystemTcpTransport(), rtrs::Clock::System(),
        rtrs::Random::System()));
  }
  if (all || choice == FabricChoice::kSoftroce) {
    fabrics.push_back(rtrs::softroce::NewSoftroce(
        {.optional = all}, rtrs::softroce::SystemHost()));
  }
  if (fabrics.empty()) {
    return rtrs::ErrnoError(ENODEV,
                            "--fabric=verbs: no RDMA device here (is its "
                            "driver loaded, and rdma_ucm?)");
  }
  return fabrics;
}

}  // namespace rnbd::server
