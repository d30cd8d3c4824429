// Where the data of requests lies while a queue pair may touch it.
//
// Where registering is cheap the caller's own buffer is registered for one
// request; elsewhere the data goes through a bounce buffer from a pool that
// was registered before and grows on demand. Owned by the session, before its
// protection domain; one thread.
#ifndef RTRS_CLIENT_DATA_MEMORY_H_
#define RTRS_CLIENT_DATA_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "rtrs/client/request.h"
#include "rtrs/fabric/fabric.h"

namespace rtrs::client {

// Registered memory with the region that makes it so.
struct RegisteredMemory {
  // `length` bytes, uninitialised, with the rights `access`.
  static absl::StatusOr<RegisteredMemory> Allocate(fabric::ProtectionDomain* pd,
                                                   size_t length,
                                                   uint32_t access);
  std::unique_ptr<uint8_t[]> bytes;
  std::unique_ptr<fabric::MemoryRegion> region;  // goes first
};

// The memory of one request in flight. Empty for a request without data.
struct DataBuffer {
  uint8_t* local = nullptr;
  const fabric::MemoryRegion* region = nullptr;  // that holds it
  // The region, when it was made for this request alone; else `local` is a
  // bounce buffer.
  std::unique_ptr<fabric::MemoryRegion> own;

  uint64_t remote_address() const {
    return region->remote_address() +
           static_cast<uint64_t>(local - region->address());
  }
};

class DataMemory {
 public:
  // Bounce buffers hold `max_io_size` bytes each.
  DataMemory(fabric::ProtectionDomain* pd, bool in_place, uint32_t max_io_size)
      : pd_(pd), in_place_(in_place), max_io_size_(max_io_size) {}

  bool in_place() const { return in_place_; }

  // Makes `request`'s data reachable for the fabric. False when all bounce
  // buffers are in use: try again after a Release.
  absl::StatusOr<bool> Acquire(const Request& request, DataBuffer* buffer);
  // After this nothing touches the memory any more. `deliver` copies what a
  // read brought from a bounce buffer to the caller.
  void Release(const Request& request, bool deliver, DataBuffer* buffer);

 private:
  struct Free {
    uint8_t* bytes;
    const fabric::MemoryRegion* region;
  };
  // At most this much is pinned for bounce buffers, but at least kMinBuffers.
  static constexpr size_t kMaxBounceBytes = size_t{64} << 20;
  static constexpr size_t kMinBuffers = 4;
  static constexpr size_t kGrowBytes = size_t{2} << 20;

  absl::Status Grow();

  fabric::ProtectionDomain* const pd_;
  const bool in_place_;
  const uint32_t max_io_size_;
  size_t buffers_ = 0;
  std::vector<RegisteredMemory> blocks_;
  std::vector<Free> free_;
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_DATA_MEMORY_H_
