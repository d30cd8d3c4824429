// A mapped RNBD device: blocking calls for a front end (nbdkit, the command).
//
// Any thread; many calls run at the same time. Offsets and lengths are bytes
// and need no alignment: what does not fit the device's blocks is read,
// changed and written back here, under a lock on those blocks, and what
// exceeds max_io_size is split and runs in parallel. An aligned request that
// fits goes to the session with the caller's buffer: no copy, no allocation,
// no lock.
//
// `affinity` says which calls belong together (one NBD connection): the same
// number means the same RTRS connection and so the same worker of the server.
//
// Errors are absl::Status with an errno (errno_status.h) and a message that
// names operation, range and device. Beyond the end, also of a device that has
// shrunk, Read and Trim fail with EINVAL, Write and Zero with ENOSPC, as NBD
// has it.
#ifndef GATEWAY_BLOCK_DEVICE_H_
#define GATEWAY_BLOCK_DEVICE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "rtrs/wire/rnbd_messages.h"

namespace rnbd::gateway {

// What the server said about the device; sizes in bytes.
struct DeviceInfo {
  std::string sessname;
  std::string device_path;
  wire::AccessMode access_mode = wire::AccessMode::kRw;
  uint64_t size = 0;  // may change at any time, see BlockDevice::info
  uint32_t logical_block_size = 512;
  uint32_t physical_block_size = 512;
  uint32_t max_io_size = 0;  // of one request on the wire
  uint64_t max_discard = 0;  // of one request; 0: no discard
  uint32_t discard_granularity = 0;
  uint32_t discard_alignment = 0;  // offset of the first discard unit
  bool write_back = false;         // has a volatile cache: flush matters
  bool fua = false;
  bool rotational = false;
  uint64_t max_write_zeroes = 0;  // of one operation 5; 0: it is not sent
  // Changes when acknowledged but unflushed writes may have been lost; 0 when
  // the server does not say (wire::OpenRsp).
  uint64_t write_verifier = 0;
};

class BlockDevice {
 public:
  // Unmaps when the last owner lets go.
  virtual ~BlockDevice() = default;
  // With the size that the device has now; the rest does not change.
  virtual DeviceInfo info() const = 0;

  virtual absl::Status Read(void* buffer, uint32_t count, uint64_t offset,
                            uint32_t affinity) = 0;
  // `fua`: on stable storage before it returns.
  virtual absl::Status Write(const void* buffer, uint32_t count,
                             uint64_t offset, bool fua, uint32_t affinity) = 0;
  // What was answered before is on stable storage when it returns.
  virtual absl::Status Flush(uint32_t affinity) = 0;
  // A hint: whole discard units in the range may lose their content. The
  // edges that are no whole unit are left alone.
  virtual absl::Status Trim(uint32_t count, uint64_t offset, bool fua,
                            uint32_t affinity) = 0;
  struct ZeroFlags {
    bool may_trim = false;  // deallocating is welcome
    bool fua = false;
    bool fast = false;  // EOPNOTSUPP rather than writing zeroes as data
  };
  virtual absl::Status Zero(uint32_t count, uint64_t offset, ZeroFlags flags,
                            uint32_t affinity) = 0;
};

}  // namespace rnbd::gateway

#endif  // GATEWAY_BLOCK_DEVICE_H_
