// Sizes and limits of an export, from the block device or the file. wire.md
// §7.3 (OPEN_RSP), §7.8.
#ifndef SERVER_GEOMETRY_H_
#define SERVER_GEOMETRY_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "rtrs/wire/rnbd_messages.h"

namespace rnbd::server {

struct Geometry {
  bool block_device = false;
  bool direct = false;         // the descriptor was opened with O_DIRECT
  bool memory_backed = false;  // tmpfs: never waits for a disk, nothing to sync
  uint64_t size = 0;           // bytes, a multiple of logical_block_size
  uint32_t logical_block_size = 512;
  uint32_t physical_block_size = 4096;
  uint32_t max_hw_sectors = 0;            // 512-byte units, informational
  uint16_t max_segments = 0;              // informational
  uint32_t max_discard_sectors = 0;       // 512-byte units, 0: no discard
  uint32_t max_write_zeroes_sectors = 0;  // 512-byte units
  uint32_t discard_granularity = 0;       // bytes
  uint32_t discard_alignment = 0;         // bytes
  bool rotational = false;
  bool write_back = true;
  bool fua = true;
};

// Geometry of the regular file open at `fd`. Probes hole punching beyond the
// end of the file if `writable`, which changes nothing.
absl::StatusOr<Geometry> FileGeometry(int fd, bool writable);

// Geometry of the block device `device` open at `fd`. Limits are read below
// `sysfs` (normally "/sys").
absl::StatusOr<Geometry> BlockDeviceGeometry(int fd, dev_t device,
                                             const std::string& sysfs);

// All fields but device_id and write_verifier. A read-only export announces
// neither discard nor write zeroes.
wire::OpenRsp ToOpenRsp(const Geometry& geometry, bool writable);

}  // namespace rnbd::server

#endif  // SERVER_GEOMETRY_H_
