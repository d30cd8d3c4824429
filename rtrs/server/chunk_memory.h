// The chunks of a session: one lazily populated mapping, so that a session
// that is idle costs address space and no memory, registered once per fabric
// that a path of the session uses. wire.md §2.3.
//
// Owned by the session; control worker only. Outlives every queue pair of the
// session.
#ifndef RTRS_SERVER_CHUNK_MEMORY_H_
#define RTRS_SERVER_CHUNK_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "rtrs/fabric/fabric.h"

namespace rtrs::server {

// The keys of one fabric: a domain of its own, so that no other session's
// queue pair can use them.
struct ChunkRegistration {
  std::unique_ptr<fabric::ProtectionDomain> pd;
  std::unique_ptr<fabric::MemoryRegion> region;
};

class ChunkMemory {
 public:
  // `access` to the chunks for all fabrics: remote writes, or only windows
  // that are bound to them. ENOMEM when the system has no such mapping.
  static absl::StatusOr<std::unique_ptr<ChunkMemory>> Map(size_t bytes,
                                                          uint32_t access);
  ~ChunkMemory();
  ChunkMemory(const ChunkMemory&) = delete;
  ChunkMemory& operator=(const ChunkMemory&) = delete;

  absl::Span<uint8_t> bytes() const { return {address_, length_}; }
  // Registers with `fabric` at the first call for `index`.
  absl::StatusOr<const ChunkRegistration*> RegisterWith(fabric::Fabric* fabric,
                                                        size_t index);

 private:
  ChunkMemory(uint8_t* address, size_t length, uint32_t access)
      : address_(address), length_(length), access_(access) {}

  uint8_t* address_;
  size_t length_;
  const uint32_t access_;
  std::vector<std::unique_ptr<ChunkRegistration>> registrations_;
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_CHUNK_MEMORY_H_
