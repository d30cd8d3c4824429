// What a client session is opened with, and what it learned from the server.
#ifndef RTRS_CLIENT_OPTIONS_H_
#define RTRS_CLIENT_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "rtrs/base/path_spec.h"
#include "rtrs/wire/capabilities.h"

namespace rtrs::client {

// Which path takes the next request, as the kernel's mp_policy (wire.md §6).
enum class MultipathPolicy : uint8_t {
  kRoundRobin,   // one after the other
  kMinInflight,  // the one with the fewest requests in flight
  kMinLatency,   // the one that answered the last heartbeat fastest
};

struct SessionOptions {
  std::string sessname;  // 1..254 bytes, no '/' or '.'
  std::vector<PathSpec> paths;
  // IO connections of a path (cid 1...), beside the service connection.
  uint32_t io_connections = 2;
  absl::Duration connect_timeout = absl::Seconds(30);  // of each connection
  absl::Duration info_timeout = absl::Seconds(30);
  absl::Duration heartbeat_interval = absl::Seconds(5);
  int heartbeat_missed_max = 5;
  MultipathPolicy mp_policy = MultipathPolicy::kMinInflight;
  // The pause before a lost path is connected again: doubles from the first
  // to the second, with jitter, and is tried for ever.
  absl::Duration reconnect_delay_min = absl::Milliseconds(100);
  absl::Duration reconnect_delay_max = absl::Seconds(10);
  // What we accept from a server at the most; more is refused (wire.md §4.1).
  uint32_t max_queue_depth = 65535;
  uint32_t max_chunk_size = 8u << 20;  // bytes
};

// The same on all paths. May change while no path is up: the server may come
// back with other numbers.
struct SessionLimits {
  uint32_t queue_depth = 0;         // permits of the session
  uint32_t max_io_size = 0;         // bytes of data of one request
  uint32_t max_hdr_size = 0;        // bytes
  wire::Capabilities capabilities;  // of the server
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_OPTIONS_H_
