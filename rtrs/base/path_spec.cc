#include "rtrs/base/path_spec.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/status_macros.h"

namespace rtrs {
namespace {

absl::StatusOr<PathEnd> ParseEnd(absl::string_view text, uint16_t port) {
  PathEnd end;
  absl::string_view address = text;
  if (absl::ConsumePrefix(&address, "ip:")) {
    end.kind = PathEnd::Kind::kIp;
    RTRS_ASSIGN_OR_RETURN(end.ip, SocketAddress::Parse(address, port));
    return end;
  }
  if (absl::ConsumePrefix(&address, "gid:")) {
    end.kind = PathEnd::Kind::kGid;
    if (inet_pton(AF_INET6, std::string(address).c_str(), end.gid.data()) !=
        1) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", text, "\": a GID is 16 bytes, written like an IPv6 address"));
    }
    return end;
  }
  return ErrnoError(
      EPROTONOSUPPORT,
      absl::StrCat("\"", text,
                   "\" must begin with \"ip:\" or \"gid:\", as in "
                   "ip:192.0.2.1"));
}

}  // namespace

std::string PathEnd::ToString() const {
  switch (kind) {
    case Kind::kNone:
      return "";
    case Kind::kIp:
      return absl::StrCat("ip:", ip.HostString());
    case Kind::kGid: {
      std::string out = "gid";
      for (size_t i = 0; i < gid.size(); i += 2) {
        absl::StrAppendFormat(&out, ":%02x%02x", gid[i], gid[i + 1]);
      }
      return out;
    }
  }
  return "";
}

std::string PathSpec::ToString() const {
  if (source.kind == PathEnd::Kind::kNone) return destination.ToString();
  return absl::StrCat(source.ToString(), "@", destination.ToString());
}

absl::StatusOr<PathSpec> ParsePathSpec(absl::string_view text, uint16_t port) {
  size_t separator = text.find(',');
  if (separator == absl::string_view::npos) separator = text.find('@');
  PathSpec spec;
  spec.port = port;
  absl::string_view destination = text;
  if (separator != absl::string_view::npos) {
    destination = text.substr(separator + 1);
    RTRS_ASSIGN_OR_RETURN(spec.source, ParseEnd(text.substr(0, separator), 0));
  }
  RTRS_ASSIGN_OR_RETURN(spec.destination, ParseEnd(destination, port));
  if (spec.source.kind != PathEnd::Kind::kNone &&
      (spec.source.kind != spec.destination.kind ||
       spec.source.ip.family() != spec.destination.ip.family())) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text,
                     "\": source and destination must be of the same kind "
                     "(both IPv4, both IPv6 or both gid)"));
  }
  return spec;
}

}  // namespace rtrs
