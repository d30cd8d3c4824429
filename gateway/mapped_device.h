// The block device over DeviceIo: checks, edges that are no whole block, FUA
// for devices without it, zeroes for servers that cannot write them.
//
// Any thread. Owns nothing of the session; `on_destroy` unmaps.
#ifndef GATEWAY_MAPPED_DEVICE_H_
#define GATEWAY_MAPPED_DEVICE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/call_once.h"
#include "absl/functional/any_invocable.h"
#include "gateway/block_device.h"
#include "gateway/device_io.h"
#include "gateway/device_link.h"
#include "gateway/rmw_guard.h"

namespace rnbd::gateway {

class MappedDevice : public BlockDevice {
 public:
  // `session` outlives the device. `on_destroy` is called once by the
  // destructor.
  MappedDevice(rtrs::client::BlockingSession* session,
               std::shared_ptr<DeviceLink> link, DeviceInfo info,
               const GatewayOptions& options,
               absl::AnyInvocable<void()> on_destroy);
  ~MappedDevice() override;

  DeviceInfo info() const override;
  absl::Status Read(void* buffer, uint32_t count, uint64_t offset,
                    uint32_t affinity) override;
  absl::Status Write(const void* buffer, uint32_t count, uint64_t offset,
                     bool fua, uint32_t affinity) override;
  absl::Status Flush(uint32_t affinity) override;
  absl::Status Trim(uint32_t count, uint64_t offset, bool fua,
                    uint32_t affinity) override;
  absl::Status Zero(uint32_t count, uint64_t offset, ZeroFlags flags,
                    uint32_t affinity) override;

 private:
  // `error`: of a range that does not lie in the device.
  absl::Status CheckRange(const char* what, int error, uint32_t count,
                          uint64_t offset) const;
  absl::Status CheckWritable(const char* what) const;
  bool Aligned(uint32_t count, uint64_t offset) const {
    return ((count | offset) & (info_.logical_block_size - 1)) == 0;
  }
  // The whole blocks that contain, or are contained in, the range.
  ByteRange Outer(uint32_t count, uint64_t offset) const;
  ByteRange Inner(uint32_t count, uint64_t offset) const;

  Segment ReadSegment(uint8_t* data, uint64_t begin, uint64_t end) const;
  Segment WriteSegment(const uint8_t* data, uint64_t begin, uint64_t end,
                       uint32_t flags) const;
  absl::Status ReadUnaligned(uint8_t* buffer, uint32_t count, uint64_t offset,
                             uint32_t affinity);
  absl::Status WriteUnaligned(const uint8_t* buffer, uint32_t count,
                              uint64_t offset, uint32_t flags,
                              uint32_t affinity);
  // Runs whole-block writes (or zeroes), again if a read-modify-write may have
  // undone them.
  absl::Status RunGuarded(const Segment& segment, uint32_t affinity);
  absl::Status ZeroWholeBlocks(ByteRange range, ZeroFlags flags,
                               uint32_t io_flags, uint32_t affinity);
  uint32_t WriteFlags(bool fua) const;
  // A write of `count` bytes from its begin to its end.
  struct Written {
    uint32_t count;
    uint32_t losses;  // DeviceLink::losses() when it began
    bool fua;         // the caller wants it on stable storage
    bool stable;      // it was sent with FUA, so no flush is owed
  };
  // What follows one that ended with `status`.
  absl::Status FinishWrite(absl::Status status, const Written& written,
                           uint32_t affinity);
  // The error of the flush that finds `bytes` lost.
  absl::Status LostWrites(uint64_t bytes) const;
  const uint8_t* Zeroes();

  const DeviceInfo info_;  // but for the size, which is link_'s
  const uint64_t block_mask_;
  const std::shared_ptr<DeviceLink> link_;
  DeviceIo io_;
  RmwGuard guard_;
  absl::once_flag zeroes_once_;
  std::vector<uint8_t> zeroes_;  // empty until needed
  absl::AnyInvocable<void()> on_destroy_;
};

}  // namespace rnbd::gateway

#endif  // GATEWAY_MAPPED_DEVICE_H_
