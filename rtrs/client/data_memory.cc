#include "rtrs/client/data_memory.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "rtrs/base/status_macros.h"

namespace rtrs::client {

absl::StatusOr<RegisteredMemory> RegisteredMemory::Allocate(
    fabric::ProtectionDomain* pd, size_t length, uint32_t access) {
  RegisteredMemory memory;
  memory.bytes = std::make_unique_for_overwrite<uint8_t[]>(length);
  RTRS_ASSIGN_OR_RETURN(memory.region,
                        pd->RegisterMemory(memory.bytes.get(), length, access));
  return memory;
}

absl::Status DataMemory::Grow() {
  const size_t limit =
      std::max<size_t>(kMinBuffers, kMaxBounceBytes / max_io_size_);
  const size_t count = std::min(limit - buffers_,
                                std::max<size_t>(1, kGrowBytes / max_io_size_));
  if (count == 0) return absl::OkStatus();
  RTRS_ASSIGN_OR_RETURN(
      RegisteredMemory block,
      RegisteredMemory::Allocate(pd_, count * max_io_size_,
                                 fabric::kLocalWrite | fabric::kRemoteWrite));
  for (size_t i = 0; i < count; ++i) {
    free_.push_back({block.bytes.get() + i * max_io_size_, block.region.get()});
  }
  buffers_ += count;
  blocks_.push_back(std::move(block));
  return absl::OkStatus();
}

absl::StatusOr<bool> DataMemory::Acquire(const Request& request,
                                         DataBuffer* buffer) {
  if (request.data_len == 0) return true;
  const bool read = request.direction == Direction::kRead;
  if (in_place_) {
    RTRS_ASSIGN_OR_RETURN(
        buffer->own,
        pd_->RegisterMemory(
            request.data, request.data_len,
            read ? fabric::kLocalWrite | fabric::kRemoteWrite : 0));
    buffer->local = request.data;
    buffer->region = buffer->own.get();
    return true;
  }
  if (free_.empty()) RTRS_RETURN_IF_ERROR(Grow());
  if (free_.empty()) return false;
  buffer->local = free_.back().bytes;
  buffer->region = free_.back().region;
  free_.pop_back();
  if (!read) std::memcpy(buffer->local, request.data, request.data_len);
  return true;
}

void DataMemory::Release(const Request& request, bool deliver,
                         DataBuffer* buffer) {
  if (buffer->local == nullptr) return;
  if (buffer->own == nullptr) {
    if (deliver && request.direction == Direction::kRead) {
      std::memcpy(request.data, buffer->local, request.data_len);
    }
    free_.push_back({buffer->local, buffer->region});
  }
  *buffer = DataBuffer();
}

}  // namespace rtrs::client
