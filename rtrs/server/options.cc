#include <bit>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/server/send_wr_id.h"
#include "rtrs/server/server.h"
#include "rtrs/wire/immediate.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::server {
namespace {

constexpr uint32_t kPage = 4096;

}  // namespace

absl::Status CheckServerOptions(const ServerOptions& options) {
  const uint32_t depth = options.sess_queue_depth;
  const uint32_t chunk = options.max_chunk_size;
  if (depth < 1 || depth > wire::kMaxQueueDepth) {
    return ErrnoError(
        EINVAL, absl::StrCat("sess_queue_depth=", depth, ": must be from 1 to ",
                             wire::kMaxQueueDepth));
  }
  // Whole pages: data in a chunk is aligned for direct I/O.
  if (chunk < wire::kMinChunkSize || chunk % kPage != 0) {
    return ErrnoError(
        EINVAL,
        absl::StrCat("max_chunk_size=", chunk, ": must be a multiple of ",
                     kPage, " of at least ", wire::kMinChunkSize));
  }
  if (std::bit_width(depth - 1) + std::bit_width(chunk - 1) >
      wire::kImmPayloadBits) {
    return ErrnoError(
        EINVAL,
        absl::StrCat("sess_queue_depth=", depth, " with max_chunk_size=", chunk,
                     ": together more than the 2^", wire::kImmPayloadBits,
                     " bytes that an immediate can address; lower one"));
  }
  if (options.workers < 1 || options.workers > 1024) {
    return ErrnoError(EINVAL, absl::StrCat("workers=", options.workers,
                                           ": must be from 1 to 1024"));
  }
  if (uint64_t{depth} * chunk > options.max_memory) {
    return ErrnoError(
        EINVAL,
        absl::StrCat("max_memory=", options.max_memory,
                     ": less than one session needs (", uint64_t{depth} * chunk,
                     " bytes); raise it or lower sess_queue_depth"));
  }
  if (options.heartbeat_interval <= absl::ZeroDuration() ||
      options.half_open_timeout <= absl::ZeroDuration()) {
    return ErrnoError(EINVAL,
                      "heartbeat_interval and half_open_timeout must be more "
                      "than zero");
  }
  if (options.heartbeat_missed_max < 1) {
    return ErrnoError(EINVAL, absl::StrCat("heartbeat_missed_max=",
                                           options.heartbeat_missed_max,
                                           ": must be at least 1"));
  }
  return absl::OkStatus();
}

absl::Status CheckDevice(const ServerOptions& options,
                         const fabric::DeviceAttr& device) {
  if (!options.always_invalidate) return absl::OkStatus();
  if (!device.memory_windows) {
    return ErrnoError(EOPNOTSUPP,
                      absl::StrCat("always_invalidate=yes: ", device.name,
                                   " has no type 1 memory windows; use "
                                   "always_invalidate=no or another fabric"));
  }
  // All chunks are bound in one go.
  if (device.max_qp_wr <= options.sess_queue_depth + kReservedSends) {
    return ErrnoError(
        EINVAL,
        absl::StrCat("sess_queue_depth=", options.sess_queue_depth,
                     ": with always_invalidate=yes ", device.name,
                     " can do less than ", device.max_qp_wr - kReservedSends));
  }
  return absl::OkStatus();
}

}  // namespace rtrs::server
