#include "rtrs/server/chunk_windows.h"

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::server {

ChunkWindows::ChunkWindows(const ChunkRegistration& registration,
                           size_t chunk_size)
    : region_(*registration.region),
      chunk_size_(chunk_size),
      windows_(region_.length() / chunk_size),
      messages_(windows_.size() *
                    (wire::RkeyResponse::kSize + wire::Descriptor::kSize) +
                wire::InfoResponse::kHeaderSize) {}

absl::StatusOr<std::unique_ptr<ChunkWindows>> ChunkWindows::Create(
    const ChunkRegistration& registration, size_t chunk_size) {
  auto made = absl::WrapUnique(new ChunkWindows(registration, chunk_size));
  for (auto& window : made->windows_) {
    RTRS_ASSIGN_OR_RETURN(window, registration.pd->AllocWindow());
  }
  RTRS_ASSIGN_OR_RETURN(
      made->messages_region_,
      registration.pd->RegisterMemory(
          made->messages_.data(), made->messages_.size(), fabric::kLocalWrite));
  return made;
}

fabric::BindWr ChunkWindows::Bind(uint32_t buf_id) const {
  fabric::BindWr wr;
  wr.window = windows_[buf_id].get();
  wr.region = &region_;
  wr.address = region_.address() + size_t{buf_id} * chunk_size_;
  wr.length = static_cast<uint32_t>(chunk_size_);
  return wr;
}

fabric::BindWr ChunkWindows::Unbind(uint32_t buf_id) const {
  fabric::BindWr wr = Bind(buf_id);
  wr.length = 0;
  return wr;
}

fabric::Sge ChunkWindows::RkeyResponse(uint32_t buf_id, uint32_t rkey) {
  const auto bytes =
      wire::Encode(wire::RkeyResponse{static_cast<uint16_t>(buf_id), rkey});
  uint8_t* to = messages_.data() + size_t{buf_id} * bytes.size();
  std::copy(bytes.begin(), bytes.end(), to);
  return {to, static_cast<uint32_t>(bytes.size()), messages_region_->lkey()};
}

fabric::Sge ChunkWindows::InfoResponse(absl::Span<const uint32_t> rkeys) {
  wire::InfoResponse response;
  for (size_t i = 0; i < rkeys.size(); ++i) {
    response.descriptors.push_back({region_.remote_address() + i * chunk_size_,
                                    rkeys[i],
                                    static_cast<uint32_t>(chunk_size_)});
  }
  const std::vector<uint8_t> bytes = wire::Encode(response);
  uint8_t* to = messages_.data() + windows_.size() * wire::RkeyResponse::kSize;
  std::copy(bytes.begin(), bytes.end(), to);
  return {to, static_cast<uint32_t>(bytes.size()), messages_region_->lkey()};
}

}  // namespace rtrs::server
