// The memory windows of a path for --always_invalidate: one over each chunk,
// whose rkey is the chunk's on this path. wire.md §2.3, §2.4, §4.5.
//
// Owned by its path, made on the control worker before the path connects. A
// chunk's entries are used by the one connection that has a request for it, on
// its worker. Goes before the registration, and after the path's queue pairs.
#ifndef RTRS_SERVER_CHUNK_WINDOWS_H_
#define RTRS_SERVER_CHUNK_WINDOWS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/server/chunk_memory.h"

namespace rtrs::server {

class ChunkWindows {
 public:
  // One window, not bound yet, for each `chunk_size` bytes of `registration`,
  // which outlives it.
  static absl::StatusOr<std::unique_ptr<ChunkWindows>> Create(
      const ChunkRegistration& registration, size_t chunk_size);

  size_t count() const { return windows_.size(); }
  // The request that gives chunk `buf_id` a fresh rkey, and the one that takes
  // its rkey away; the caller adds wr_id and flags.
  fabric::BindWr Bind(uint32_t buf_id) const;
  fabric::BindWr Unbind(uint32_t buf_id) const;
  // The RKEY_RSP that tells the client of `rkey`. Its memory is the chunk's
  // own until the next response with this chunk.
  fabric::Sge RkeyResponse(uint32_t buf_id, uint32_t rkey);
  // The INFO_RSP that names all chunks by `rkeys`.
  fabric::Sge InfoResponse(absl::Span<const uint32_t> rkeys);

 private:
  ChunkWindows(const ChunkRegistration& registration, size_t chunk_size);

  const fabric::MemoryRegion& region_;
  const size_t chunk_size_;
  std::vector<std::unique_ptr<fabric::MemoryWindow>> windows_;
  // The RKEY_RSPs of all chunks, then the INFO_RSP; registered.
  std::vector<uint8_t> messages_;
  std::unique_ptr<fabric::MemoryRegion> messages_region_;
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_CHUNK_WINDOWS_H_
