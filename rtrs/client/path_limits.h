// The numbers a server announces, bounded before anything is sized by them.
// wire.md §1.4, §4.1. Pure functions; any thread.
#ifndef RTRS_CLIENT_PATH_LIMITS_H_
#define RTRS_CLIENT_PATH_LIMITS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rtrs/client/options.h"
#include "rtrs/client/request.h"
#include "rtrs/wire/capabilities.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::client {

// The largest header part that a server may announce: the page of a kernel
// with 64 KiB pages.
inline constexpr uint32_t kMaxServerHeaderSize = 65536;  // bytes
// The smallest header part and data part that are of any use.
inline constexpr uint32_t kMinServerHeaderSize = 64;  // bytes
inline constexpr uint32_t kMinServerIoSize = 512;     // bytes

// The longest user message; RNBD's longest is 264 bytes. It keeps the pool of
// request headers small: one slot per permit.
inline constexpr uint32_t kMaxUserMessage =
    512 - static_cast<uint32_t>(wire::IoHeader::kMaxSize);  // bytes

// What the server of a path said in the accept of cid 0, all of it in bounds.
struct PathLimits {
  uint32_t queue_depth = 0;   // chunks, 1..65535
  uint32_t max_io_size = 0;   // bytes
  uint32_t max_hdr_size = 0;  // bytes
  uint32_t chunk_size = 0;    // bytes: the sum of both
  int mem_bits = 0;           // of the offset in a request's immediate
  bool new_rkey = false;      // every response refreshes the chunk's rkey
  wire::Capabilities capabilities;
};

// EPROTO with the offending value when `response` is out of bounds.
absl::StatusOr<PathLimits> BoundConnectResponse(
    const wire::ConnectResponse& response, const SessionOptions& options);

// The size rules of §4.1: EMSGSIZE with the numbers, or OK.
absl::Status CheckRequestSize(const Request& request, const PathLimits& limits);

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_PATH_LIMITS_H_
