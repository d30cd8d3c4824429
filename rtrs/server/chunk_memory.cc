#include "rtrs/server/chunk_memory.h"

#include <errno.h>
#include <sys/mman.h>

#include <utility>

#include "absl/base/dynamic_annotations.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/status_macros.h"

namespace rtrs::server {

absl::StatusOr<std::unique_ptr<ChunkMemory>> ChunkMemory::Map(size_t bytes,
                                                              uint32_t access) {
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    return ErrnoError(
        errno, absl::StrCat("map ", bytes, " bytes of chunks for a session"));
  }
  // A client writes a chunk again when it has our answer, perhaps on the
  // connection of another worker: an order that the sanitizer cannot see. A
  // hostile client keeps no order at all.
  ABSL_ANNOTATE_BENIGN_RACE_SIZED(address, bytes, "the network orders it");
  return absl::WrapUnique(
      new ChunkMemory(static_cast<uint8_t*>(address), bytes, access));
}

ChunkMemory::~ChunkMemory() {
  registrations_.clear();
  munmap(address_, length_);
}

absl::StatusOr<const ChunkRegistration*> ChunkMemory::RegisterWith(
    fabric::Fabric* fabric, size_t index) {
  if (registrations_.size() <= index) registrations_.resize(index + 1);
  if (registrations_[index] == nullptr) {
    auto made = std::make_unique<ChunkRegistration>();
    RTRS_ASSIGN_OR_RETURN(made->pd, fabric->AllocPd());
    RTRS_ASSIGN_OR_RETURN(made->region,
                          made->pd->RegisterMemory(address_, length_, access_));
    registrations_[index] = std::move(made);
  }
  return registrations_[index].get();
}

}  // namespace rtrs::server
