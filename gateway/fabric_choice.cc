#include "gateway/fabric_choice.h"

#include <errno.h>

#include "absl/strings/str_cat.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/random.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/softiwarp/softiwarp.h"
#include "rtrs/fabric/softiwarp/tcp_transport.h"

namespace rnbd::gateway {
namespace {

absl::Status CheckBuilt(FabricChoice choice) {
  switch (choice) {
    case FabricChoice::kAuto:
    case FabricChoice::kSoftiwarp:
      return absl::OkStatus();
    case FabricChoice::kVerbs:
      return rtrs::ErrnoError(
          EOPNOTSUPP,
          "fabric=verbs: this build has no RDMA device support; use "
          "fabric=softiwarp with an rnbd-server that listens on it");
    case FabricChoice::kSoftroce:
      return rtrs::ErrnoError(
          EOPNOTSUPP,
          "fabric=softroce: this build has no in-process RoCE; use "
          "fabric=softiwarp with an rnbd-server that listens on it");
  }
  return absl::InternalError("unknown fabric choice");
}

rtrs::fabric::SoftiwarpOptions::Crc SoftiwarpCrc(CrcChoice crc) {
  using Crc = rtrs::fabric::SoftiwarpOptions::Crc;
  switch (crc) {
    case CrcChoice::kOn:
      return Crc::kOn;
    case CrcChoice::kOff:
      return Crc::kOff;
    case CrcChoice::kAuto:
      break;
  }
  return Crc::kAuto;
}

}  // namespace

absl::Status CheckFabricChoice(FabricChoice choice,
                               const std::vector<rtrs::PathSpec>& paths) {
  RTRS_RETURN_IF_ERROR(CheckBuilt(choice));
  for (const rtrs::PathSpec& path : paths) {
    if (path.destination.kind == rtrs::PathEnd::Kind::kGid) {
      return rtrs::ErrnoError(
          EAFNOSUPPORT,
          absl::StrCat("path=", path.ToString(),
                       ": gid: addresses need an RDMA device, which this "
                       "build does not support; use ip:"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<rtrs::fabric::Fabric>> MakeFabric(
    FabricChoice choice, CrcChoice crc) {
  RTRS_RETURN_IF_ERROR(CheckBuilt(choice));
  rtrs::fabric::SoftiwarpOptions options;
  options.crc = SoftiwarpCrc(crc);
  return rtrs::fabric::NewSoftiwarp(
      options, rtrs::fabric::SystemTcpTransport(), rtrs::Clock::System(),
      rtrs::Random::System());
}

}  // namespace rnbd::gateway
