#include <errno.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gateway/fabric_choice.h"
#include "gateway/gateway.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/status_macros.h"

namespace rnbd::gateway {
namespace {

// Both names lie in a field of 255 bytes with a NUL behind them (wire.md §2.2,
// §7.3).
constexpr size_t kMaxName = 254;
constexpr size_t kMaxPaths = 128;

absl::Status CheckLength(absl::string_view parameter, absl::string_view value) {
  if (value.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(parameter, "= must not be empty"));
  }
  if (value.size() > kMaxName) {
    return rtrs::ErrnoError(
        ENAMETOOLONG,
        absl::StrCat(parameter, "=", value.substr(0, 32), "... has ",
                     value.size(), " bytes, the protocol allows ", kMaxName));
  }
  if (absl::StrContains(value, absl::string_view("\0", 1))) {
    return absl::InvalidArgumentError(
        absl::StrCat(parameter, "= contains a NUL byte"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FabricChoice> ParseFabricChoice(absl::string_view text) {
  if (text == "auto") return FabricChoice::kAuto;
  if (text == "verbs") return FabricChoice::kVerbs;
  if (text == "softiwarp") return FabricChoice::kSoftiwarp;
  if (text == "softroce") return FabricChoice::kSoftroce;
  return absl::InvalidArgumentError(absl::StrCat(
      "fabric=", text, ": must be one of auto, verbs, softiwarp, softroce"));
}

absl::StatusOr<rtrs::client::MultipathPolicy> ParseMultipathPolicy(
    absl::string_view text) {
  using rtrs::client::MultipathPolicy;
  if (text == "round-robin" || text == "rr" || text == "0") {
    return MultipathPolicy::kRoundRobin;
  }
  if (text == "min-inflight" || text == "mi" || text == "1") {
    return MultipathPolicy::kMinInflight;
  }
  if (text == "min-latency" || text == "ml" || text == "2") {
    return MultipathPolicy::kMinLatency;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "mp_policy=", text,
      ": must be one of round-robin (rr), min-inflight (mi), min-latency "
      "(ml)"));
}

absl::StatusOr<CrcChoice> ParseCrcChoice(absl::string_view text) {
  if (text == "auto") return CrcChoice::kAuto;
  if (text == "on") return CrcChoice::kOn;
  if (text == "off") return CrcChoice::kOff;
  return absl::InvalidArgumentError(
      absl::StrCat("crc=", text, ": must be one of auto, on, off"));
}

absl::Status CheckSessname(absl::string_view sessname) {
  RTRS_RETURN_IF_ERROR(CheckLength("sessname", sessname));
  if (sessname.find_first_of("/.") != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("sessname=", sessname,
                     ": must not contain '/' or '.', servers refuse it"));
  }
  return absl::OkStatus();
}

absl::Status CheckDevicePath(absl::string_view device_path) {
  RTRS_RETURN_IF_ERROR(CheckLength("device_path", device_path));
  // Servers look for the two bytes anywhere (wire.md §7.3).
  if (absl::StrContains(device_path, "..")) {
    return absl::InvalidArgumentError(
        absl::StrCat("device_path=", device_path,
                     ": must not contain \"..\", servers refuse it"));
  }
  return absl::OkStatus();
}

absl::Status CheckGatewayOptions(const GatewayOptions& options) {
  RTRS_RETURN_IF_ERROR(CheckSessname(options.sessname));
  if (options.paths.empty()) {
    return absl::InvalidArgumentError(
        "path= is missing: give the address of the server, as in "
        "path=ip:192.0.2.1");
  }
  if (options.paths.size() > kMaxPaths) {
    return absl::InvalidArgumentError(
        absl::StrCat("path= is given ", options.paths.size(),
                     " times, at most ", kMaxPaths, " are possible"));
  }
  for (size_t i = 0; i < options.paths.size(); ++i) {
    const std::string text = options.paths[i].ToString();
    if (options.paths[i].port == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("dest_port=0 for path=", text, ": must be 1 to 65535"));
    }
    for (size_t j = 0; j < i; ++j) {
      if (options.paths[j].ToString() == text) {
        return rtrs::ErrnoError(
            EEXIST, absl::StrCat("path=", text,
                                 " is given twice: two paths of a session "
                                 "cannot have the same addresses"));
      }
    }
  }
  if (options.io_timeout < absl::ZeroDuration()) {
    return absl::InvalidArgumentError("io_timeout= must not be negative");
  }
  if (options.heartbeat_interval < absl::Milliseconds(100) ||
      options.heartbeat_interval > absl::Hours(1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "heartbeat_interval=", absl::FormatDuration(options.heartbeat_interval),
        ": must be from 100ms to 1h"));
  }
  return CheckFabricChoice(options.fabric, options.paths);
}

}  // namespace rnbd::gateway
