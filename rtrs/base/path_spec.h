// The kernel's spelling of a path: "ip:ADDR", "SRC@DST", "SRC,DST", "gid:GID".
// wire.md §7.9.
//
//   RTRS_ASSIGN_OR_RETURN(PathSpec spec,
//                         ParsePathSpec("ip:10.0.0.1@ip:10.0.0.2", 1234));
#ifndef RTRS_BASE_PATH_SPEC_H_
#define RTRS_BASE_PATH_SPEC_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "rtrs/base/socket_address.h"

namespace rtrs {

// One end of a path: an IP address, or an InfiniBand GID (AF_IB).
struct PathEnd {
  enum class Kind { kNone, kIp, kGid };
  Kind kind = Kind::kNone;
  SocketAddress ip;               // kIp
  std::array<uint8_t, 16> gid{};  // kGid, network order

  // "ip:192.0.2.1", "gid:fe80:0000:..." with 8 full groups, "" for kNone.
  std::string ToString() const;
};

struct PathSpec {
  PathEnd source;  // kNone when the system shall choose
  PathEnd destination;
  uint16_t port = 0;  // of the destination; also set in destination.ip

  // "ip:10.0.0.1@ip:10.0.0.2", or the destination alone.
  std::string ToString() const;
};

// A comma is looked for first, then '@', as the kernel does. The prefix is
// mandatory and lower case; both ends must be of one kind and family. The
// error names the parameter text and what is expected.
absl::StatusOr<PathSpec> ParsePathSpec(absl::string_view text, uint16_t port);

}  // namespace rtrs

#endif  // RTRS_BASE_PATH_SPEC_H_
