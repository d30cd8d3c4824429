#include "nbdkit-plugin/config.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/path_spec.h"
#include "rtrs/base/status_macros.h"

namespace rnbd::plugin {
namespace {

absl::Status Bad(absl::string_view key, absl::string_view value,
                 absl::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat(key, "=", value, ": must be ", wanted));
}

absl::StatusOr<rtrs::PathSpec> ParsePath(absl::string_view text,
                                         uint16_t port) {
  auto spec = rtrs::ParsePathSpec(text, port);
  if (!spec.ok()) {
    return rtrs::Annotate(spec.status(), absl::StrCat("path=", text));
  }
  return spec;
}

absl::StatusOr<absl::Duration> ParseTime(absl::string_view key,
                                         absl::string_view text,
                                         absl::string_view wanted) {
  absl::Duration duration;
  uint32_t seconds = 0;
  if (!text.empty() &&
      std::all_of(text.begin(), text.end(), absl::ascii_isdigit)) {
    if (!absl::SimpleAtoi(text, &seconds)) {
      return Bad(key, text, "at most 4294967295 seconds");
    }
    return absl::Seconds(seconds);
  }
  if (!absl::ParseDuration(text, &duration) ||
      duration < absl::ZeroDuration() || duration == absl::InfiniteDuration()) {
    return Bad(key, text, wanted);
  }
  return duration;
}

}  // namespace

const char kConfigHelp[] =
    "sessname=<NAME>     (required) Name of the session on the server.\n"
    "path=<ADDRESS>      (required) Address of the server: ip:<ADDRESS>,\n"
    "                    <SOURCE>@<ADDRESS> or <SOURCE>,<ADDRESS>; may be\n"
    "                    repeated.\n"
    "device_path=<NAME>  Device on the server; without it the NBD export name\n"
    "                    is the device.\n"
    "dest_port=<PORT>    Port of the server (default 1234).\n"
    "access_mode=ro|rw|migration\n"
    "                    How the device is opened (default rw).\n"
    "fabric=auto|verbs|softiwarp|softroce\n"
    "                    What RTRS runs over (default auto).\n"
    "crc=auto|on|off     Checksums of softiwarp (default auto).\n"
    "io_timeout=<TIME>   How long a request may take: seconds, or as in 90s,\n"
    "                    3m (default 180s); 0 waits for ever.\n"
    "fail_fast=yes|no    Whether requests fail at once while no path is up,\n"
    "                    instead of waiting up to io_timeout (default no).\n"
    "mp_policy=min-inflight|round-robin|min-latency\n"
    "                    Which path takes a request (default min-inflight).\n"
    "heartbeat_interval=<TIME>\n"
    "                    How often the server is asked for a sign of life\n"
    "                    (default 5s); silence for 7 of them ends a path.\n"
    "write_zeroes=yes|no Send operation 5 (write zeroes) to any server, or to\n"
    "                    none (default: to those that announce it).";

absl::StatusOr<absl::Duration> ParseIoTimeout(absl::string_view text) {
  RTRS_ASSIGN_OR_RETURN(
      const absl::Duration duration,
      ParseTime("io_timeout", text,
                "a time, as in 180, 90s or 3m (0: for ever)"));
  return duration == absl::ZeroDuration() ? absl::InfiniteDuration() : duration;
}

absl::StatusOr<absl::Duration> ParseHeartbeatInterval(absl::string_view text) {
  return ParseTime("heartbeat_interval", text, "a time, as in 5 or 500ms");
}

absl::Status Config::Set(absl::string_view key, absl::string_view value) {
  if (key == "path") {
    RTRS_RETURN_IF_ERROR(ParsePath(value, dest_port_).status());
    paths_.emplace_back(value);
    return absl::OkStatus();
  }
  RTRS_RETURN_IF_ERROR(SetOnce(key, value));
  if (!seen_.insert(std::string(key)).second) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, "= is given more than once"));
  }
  return absl::OkStatus();
}

absl::Status Config::SetOnce(absl::string_view key, absl::string_view value) {
  if (key == "sessname") {
    RTRS_RETURN_IF_ERROR(gateway::CheckSessname(value));
    options_.sessname = std::string(value);
  } else if (key == "device_path") {
    RTRS_RETURN_IF_ERROR(gateway::CheckDevicePath(value));
    device_path_ = std::string(value);
  } else if (key == "dest_port") {
    return SetPort(value);
  } else if (key == "access_mode") {
    const auto mode = wire::ParseAccessMode(value);
    if (!mode.ok()) return Bad(key, value, "one of ro, rw, migration");
    access_mode_ = *mode;
  } else if (key == "fabric") {
    RTRS_ASSIGN_OR_RETURN(options_.fabric, gateway::ParseFabricChoice(value));
  } else if (key == "crc") {
    RTRS_ASSIGN_OR_RETURN(options_.crc, gateway::ParseCrcChoice(value));
  } else if (key == "io_timeout") {
    RTRS_ASSIGN_OR_RETURN(options_.io_timeout, ParseIoTimeout(value));
  } else if (key == "fail_fast") {
    if (value != "yes" && value != "no") return Bad(key, value, "yes or no");
    options_.fail_fast = value == "yes";
  } else if (key == "mp_policy") {
    RTRS_ASSIGN_OR_RETURN(options_.mp_policy,
                          gateway::ParseMultipathPolicy(value));
  } else if (key == "heartbeat_interval") {
    RTRS_ASSIGN_OR_RETURN(options_.heartbeat_interval,
                          ParseHeartbeatInterval(value));
  } else if (key == "write_zeroes") {
    if (value != "yes" && value != "no") return Bad(key, value, "yes or no");
    options_.write_zeroes = value == "yes" ? gateway::WriteZeroesChoice::kYes
                                           : gateway::WriteZeroesChoice::kNo;
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        "unknown parameter ", key, "=", value,
        "; there are sessname, path, device_path, dest_port, access_mode, "
        "fabric, crc, io_timeout, fail_fast, mp_policy, heartbeat_interval, "
        "write_zeroes"));
  }
  return absl::OkStatus();
}

absl::Status Config::SetPort(absl::string_view value) {
  uint32_t port = 0;
  if (value.empty() ||
      !std::all_of(value.begin(), value.end(), absl::ascii_isdigit) ||
      !absl::SimpleAtoi(value, &port) || port == 0 || port > 65535) {
    return Bad("dest_port", value, "a port from 1 to 65535");
  }
  dest_port_ = static_cast<uint16_t>(port);
  return absl::OkStatus();
}

absl::Status Config::Complete() {
  if (seen_.count("sessname") == 0) {
    return absl::InvalidArgumentError(
        "sessname= is missing: give the session a name, as in "
        "sessname=myhost");
  }
  // The port counts wherever it stands, so it is known only now.
  options_.paths.clear();
  for (const std::string& path : paths_) {
    RTRS_ASSIGN_OR_RETURN(auto spec, ParsePath(path, dest_port_));
    options_.paths.push_back(spec);
  }
  return gateway::CheckGatewayOptions(options_);
}

wire::AccessMode Config::access_mode(bool readonly) const {
  return access_mode_.value_or(readonly ? wire::AccessMode::kRo
                                        : wire::AccessMode::kRw);
}

}  // namespace rnbd::plugin
