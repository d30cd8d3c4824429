// Turns ranges of a device into RNBD IO requests and waits for their answers.
// wire.md §7.5.
//
// Knows nothing of blocks that are only partly covered: offsets and counts are
// multiples of the logical block size and inside the device. Any thread.
#ifndef GATEWAY_DEVICE_IO_H_
#define GATEWAY_DEVICE_IO_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gateway/block_device.h"
#include "gateway/device_link.h"
#include "rtrs/client/blocking_session.h"
#include "rtrs/client/request.h"
#include "rtrs/wire/rnbd_messages.h"

namespace rnbd::gateway {

// One operation on a range. `data` is read by a write and filled by a read;
// it is null for operations without data.
struct Segment {
  wire::Op op = wire::Op::kRead;
  uint32_t flags = 0;  // wire::Io::k...
  uint8_t* data = nullptr;
  uint64_t count = 0;  // bytes
  uint64_t offset = 0;
  // At most so many bytes in one request.
  uint32_t max_part = 0;
  // All parts use the same `data`, of max_part bytes (zeroes).
  bool repeat_data = false;
};

class DeviceIo {
 public:
  // All pointers are borrowed.
  DeviceIo(rtrs::client::BlockingSession* session, const DeviceLink* link,
           const DeviceInfo* info, absl::Duration io_timeout)
      : session_(session), link_(link), info_(info), io_timeout_(io_timeout) {}

  // Runs all segments at once, split into parts where they exceed max_part,
  // and returns when all are done; the error is that of the first part that
  // failed. A single segment that fits is sent from the stack as it is.
  absl::Status Run(absl::Span<const Segment> segments, uint32_t affinity);

 private:
  struct Part;
  absl::Status RunSingle(const Segment& segment, uint32_t affinity);
  absl::Status RunParts(absl::Span<const Segment> segments, uint32_t affinity);
  void Prepare(const Segment& segment, uint64_t at, uint64_t count,
               uint32_t device_id, uint32_t affinity, Part* part);
  absl::Status Result(const Part& part) const;
  absl::Status NotOpen(const Segment& segment) const;
  absl::Time Deadline() const;

  rtrs::client::BlockingSession* const session_;
  const DeviceLink* const link_;
  const DeviceInfo* const info_;
  const absl::Duration io_timeout_;
};

}  // namespace rnbd::gateway

#endif  // GATEWAY_DEVICE_IO_H_
