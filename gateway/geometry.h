// From what a server said about a device to what may be sent to it. wire.md
// §7.3, §7.8. Pure functions, any thread.
#ifndef GATEWAY_GEOMETRY_H_
#define GATEWAY_GEOMETRY_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateway/block_device.h"
#include "gateway/gateway.h"
#include "rtrs/client/options.h"
#include "rtrs/wire/rnbd_messages.h"

namespace rnbd::gateway {

// The part of `info` that OPEN_RSP decides. The names and the mode are taken
// from `info` as they are. Refuses answers that nobody could work with: block
// sizes that are no power of two of at least 512, a size past 2^63, or a
// max_io_size smaller than a block.
absl::Status ApplyOpenRsp(const wire::OpenRsp& rsp,
                          const rtrs::client::SessionLimits& limits,
                          WriteZeroesChoice write_zeroes, DeviceInfo* info);

// A range of bytes, [begin, end).
struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = 0;
  bool empty() const { return begin >= end; }
};

// The whole discard units inside [offset, offset + count): begins and ends at
// discard_alignment + k * discard_granularity.
ByteRange WholeDiscardUnits(const DeviceInfo& info, uint64_t offset,
                            uint32_t count);

// The most bytes of one discard, in whole units; 0: the device cannot discard.
uint32_t DiscardStep(const DeviceInfo& info);

}  // namespace rnbd::gateway

#endif  // GATEWAY_GEOMETRY_H_
