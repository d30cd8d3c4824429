#include "gateway/fabric_choice.h"

#include <errno.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/random.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/softiwarp/softiwarp.h"
#include "rtrs/fabric/softiwarp/tcp_transport.h"
#include "rtrs/fabric/softroce/softroce.h"
#include "rtrs/fabric/verbs/verbs.h"

namespace rnbd::gateway {
namespace {

// How long to look for the RDMA device of one path.
constexpr absl::Duration kFindDeviceTime = absl::Seconds(3);

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

absl::StatusOr<std::unique_ptr<rtrs::fabric::Fabric>> MakeVerbs(
    const std::vector<rtrs::PathSpec>& paths) {
  std::string device;
  for (const rtrs::PathSpec& path : paths) {
    RTRS_ASSIGN_OR_RETURN(std::string found, rtrs::fabric::verbs::FindDevice(
                                                 path, kFindDeviceTime));
    if (!device.empty() && device != found) {
      return rtrs::ErrnoError(
          EOPNOTSUPP,
          absl::StrCat("path=", path.ToString(), " uses RDMA device ", found,
                       ", the paths before it ", device,
                       ": one session uses one device"));
    }
    device = std::move(found);
  }
  return rtrs::fabric::verbs::OpenDevice(device);
}

}  // namespace

absl::Status CheckFabricChoice(FabricChoice choice,
                               const std::vector<rtrs::PathSpec>& paths) {
  if (choice != FabricChoice::kSoftiwarp && choice != FabricChoice::kSoftroce) {
    return absl::OkStatus();
  }
  for (const rtrs::PathSpec& path : paths) {
    if (path.destination.kind == rtrs::PathEnd::Kind::kGid) {
      return rtrs::ErrnoError(
          EAFNOSUPPORT,
          absl::StrCat("path=", path.ToString(),
                       ": gid: addresses need an RDMA device; use ip: with "
                       "fabric=",
                       FabricChoiceName(choice)));
    }
  }
  return absl::OkStatus();
}

std::vector<FabricChoice> FabricsToTry(FabricChoice choice) {
  if (choice != FabricChoice::kAuto) return {choice};
  if (rtrs::fabric::verbs::ListDevices().empty()) {
    return {FabricChoice::kSoftiwarp, FabricChoice::kSoftroce};
  }
  return {FabricChoice::kVerbs, FabricChoice::kSoftiwarp,
          FabricChoice::kSoftroce};
}

const char* FabricChoiceName(FabricChoice choice) {
  switch (choice) {
    case FabricChoice::kAuto:
      return "auto";
    case FabricChoice::kVerbs:
      return "verbs";
    case FabricChoice::kSoftiwarp:
      return "softiwarp";
    case FabricChoice::kSoftroce:
      return "softroce";
  }
  return "unknown";
}

absl::StatusOr<std::unique_ptr<rtrs::fabric::Fabric>> MakeFabric(
    FabricChoice choice, CrcChoice crc,
    const std::vector<rtrs::PathSpec>& paths) {
  RTRS_RETURN_IF_ERROR(CheckFabricChoice(choice, paths));
  if (choice == FabricChoice::kVerbs) return MakeVerbs(paths);
  if (choice == FabricChoice::kSoftroce) {
    return rtrs::softroce::NewSoftroce({}, rtrs::softroce::SystemHost());
  }
  rtrs::fabric::SoftiwarpOptions options;
  options.crc = SoftiwarpCrc(crc);
  return rtrs::fabric::NewSoftiwarp(options, rtrs::fabric::SystemTcpTransport(),
                                    rtrs::Clock::System(),
                                    rtrs::Random::System());
}

bool MayTryNextFabric(const absl::Status& status) {
  switch (rtrs::ErrnoOf(status)) {
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ETIMEDOUT:
    case ENODEV:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
    case EOPNOTSUPP:
      return true;
    default:
      return false;
  }
}

}  // namespace rnbd::gateway
