#include "rtrs/server/operation.h"

#include <algorithm>
#include <cstring>

#include "rtrs/server/connection.h"

namespace rtrs::server {

void Operation::Complete(int status) {
  connection->CompleteRequest(this, status);
}

Verdict ParseRequest(absl::Span<uint8_t> chunk, uint32_t offset,
                     Operation* op) {
  std::array<uint8_t, wire::IoHeader::kMaxSize> copy;
  const size_t available = std::min<size_t>(copy.size(), chunk.size() - offset);
  std::memcpy(copy.data(), chunk.data() + offset, available);
  const auto header =
      wire::DecodeIoHeader(absl::MakeConstSpan(copy.data(), available));
  if (!header.ok()) return Verdict::kClose;

  const bool read = header->type == wire::RtrsType::kRead;
  op->direction = read ? Direction::kRead : Direction::kWrite;
  op->need_inval = header->need_inval && header->has_descriptor;
  op->has_descriptor = header->has_descriptor;
  op->descriptor = header->descriptor;
  op->data = {};
  op->user_message = {};

  const uint32_t usr_len = header->usr_len;
  if (usr_len > offset || usr_len > Request::kMaxUserMessage) {
    return Verdict::kRefuse;
  }
  const uint32_t data_len = offset - usr_len;
  std::memcpy(op->message.data(), chunk.data() + data_len, usr_len);
  op->user_message = absl::MakeConstSpan(op->message.data(), usr_len);
  if (!read) {
    op->data = chunk.first(data_len);
  } else if (op->has_descriptor) {
    if (op->descriptor.length == 0 || op->descriptor.length > chunk.size()) {
      return Verdict::kRefuse;
    }
    op->data = chunk.first(op->descriptor.length);
  }
  return Verdict::kServe;
}

}  // namespace rtrs::server
