// Turns ranges of a device into RNBD IO requests and waits for their answers.
// wire.md §7.5.
//
// Knows nothing of blocks that are only partly covered: offsets and counts are
// multiples of the logical block size and inside the device. Any thread.
#ifndef GATEWAY_DEVICE_IO_H_
#define GATEWAY_DEVICE_IO_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "gateway/block_device.h"
#include "gateway/device_link.h"
#include "gateway/gateway.h"
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
           const DeviceInfo* info, const GatewayOptions& options)
      : session_(session),
        link_(link),
        info_(info),
        io_timeout_(options.io_timeout),
        fail_fast_(options.fail_fast),
        give_up_(options.give_up) {}

  // Runs all segments at once, split into parts where they exceed max_part,
  // and returns when all are done; the error is that of the first part that
  // failed. A single segment that fits is sent from the stack as it is.
  //
  // While the server does not have the device open, because the session has no
  // path, it waits until io_timeout, unless fail_fast. What was in flight then
  // runs again from the start: nobody has been told of it.
  absl::Status Run(absl::Span<const Segment> segments, uint32_t affinity);

 private:
  struct Part;
  // One try of a Run.
  struct Try {
    absl::Time deadline;
    uint32_t affinity = 0;
    // The life of the session in which it was tried; 0: not sent.
    uint32_t generation = 0;
    bool lost = false;  // it ended with the session, or found none
  };
  absl::Status RunSingle(const Segment& segment, Try* t);
  absl::Status RunParts(absl::Span<const Segment> segments, Try* t);
  void Prepare(const Segment& segment, uint64_t at, uint64_t count,
               const DeviceLink::Opened& opened, uint32_t affinity, Part* part);
  absl::Status Result(const Part& part, Try* t) const;
  absl::Status NotOpen(const Segment& segment, Try* t) const;
  // Waits for the device to be open again; `error` is returned if it is not.
  absl::Status WaitOpen(const Try& t, const absl::Status& error) const;
  uint64_t MaxPart(const Segment& segment) const;
  std::string Where() const;
  absl::Time Deadline() const;

  rtrs::client::BlockingSession* const session_;
  const DeviceLink* const link_;
  const DeviceInfo* const info_;
  const absl::Duration io_timeout_;
  const bool fail_fast_;
  const std::function<bool()> give_up_;
};

}  // namespace rnbd::gateway

#endif  // GATEWAY_DEVICE_IO_H_
