#include "rtrs/client/path_limits.h"

#include <errno.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/wire/immediate.h"

namespace rtrs::client {
namespace {

absl::Status OutOfBounds(const char* field, uint64_t value, uint64_t low,
                         uint64_t high) {
  return ErrnoError(EPROTO,
                    absl::StrCat("the server announced ", field, " ", value,
                                 ", accepted are ", low, " to ", high));
}

}  // namespace

absl::StatusOr<PathLimits> BoundConnectResponse(
    const wire::ConnectResponse& response, const SessionOptions& options) {
  if (response.queue_depth == 0 ||
      response.queue_depth > options.max_queue_depth) {
    return OutOfBounds("queue_depth", response.queue_depth, 1,
                       options.max_queue_depth);
  }
  if (response.max_hdr_size < kMinServerHeaderSize ||
      response.max_hdr_size > kMaxServerHeaderSize) {
    return OutOfBounds("max_hdr_size", response.max_hdr_size,
                       kMinServerHeaderSize, kMaxServerHeaderSize);
  }
  if (response.max_io_size < kMinServerIoSize ||
      response.max_io_size > options.max_chunk_size) {
    return OutOfBounds("max_io_size", response.max_io_size, kMinServerIoSize,
                       options.max_chunk_size);
  }
  const uint64_t chunk_size =
      uint64_t{response.max_io_size} + response.max_hdr_size;
  if (chunk_size > options.max_chunk_size) {
    return OutOfBounds("a chunk size (max_io_size + max_hdr_size) of",
                       chunk_size, kMinServerHeaderSize + kMinServerIoSize,
                       options.max_chunk_size);
  }
  const int mem_bits = wire::MemBits(response.queue_depth);
  if (chunk_size > uint64_t{1} << mem_bits) {
    return ErrnoError(
        EPROTO,
        absl::StrCat("the server announced queue_depth ", response.queue_depth,
                     " with chunks of ", chunk_size,
                     " bytes, which do not fit 28 bits of immediate data"));
  }
  PathLimits limits;
  limits.queue_depth = response.queue_depth;
  limits.max_io_size = response.max_io_size;
  limits.max_hdr_size = response.max_hdr_size;
  limits.chunk_size = static_cast<uint32_t>(chunk_size);
  limits.mem_bits = mem_bits;
  limits.new_rkey = (response.flags & wire::ConnectResponse::kFlagNewRkey) != 0;
  limits.capabilities = response.capabilities;
  return limits;
}

absl::Status CheckRequestSize(const Request& request,
                              const PathLimits& limits) {
  const bool read = request.direction == Direction::kRead;
  const uint64_t user = request.user_message.size();
  const uint64_t data = request.data_len;
  const uint64_t message =
      read ? wire::IoHeader::kReadSize : wire::IoHeader::kWriteSize;
  const uint64_t descriptor =
      read && data > 0 ? wire::Descriptor::kSize : uint64_t{0};
  if (user > kMaxUserMessage ||
      user + message + descriptor > limits.max_hdr_size ||
      data > limits.max_io_size || data + user + message > limits.chunk_size) {
    const uint64_t room = limits.max_hdr_size - message - descriptor;
    return ErrnoError(
        EMSGSIZE,
        absl::StrCat("request with ", data, " bytes of data and a message of ",
                     user, " bytes; at most ", limits.max_io_size, " and ",
                     std::min<uint64_t>(kMaxUserMessage, room)));
  }
  return absl::OkStatus();
}

}  // namespace rtrs::client
