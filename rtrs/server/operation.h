// A request in its preallocated record: one per (path, chunk).
//
// The record belongs to the path. From Claim of `busy` to Release it is in the
// hands of the connection that the request came on, and of the layer above
// between OnRequest and Complete; all on that connection's worker thread.
// Connections of other workers look at `busy` and `next_owner` only.
#ifndef RTRS_SERVER_OPERATION_H_
#define RTRS_SERVER_OPERATION_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "absl/types/span.h"
#include "rtrs/server/request.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::server {

class Connection;

struct Operation final : Request {
  void Complete(int error) override;

  Connection* connection = nullptr;
  // A request of this path uses the chunk; a second one breaks the protocol.
  std::atomic<bool> busy{false};
  // Link of ChunkOwners: the operation in front of this one.
  Operation* next_owner = nullptr;
  // Link of the connection's lists: what waits for a free send queue, and what
  // waits for its invalidation.
  Operation* next_waiting = nullptr;
  uint32_t offset = 0;   // of the RTRS message in the chunk
  bool started = false;  // its header was read: the next thing is a response
  int error = 0;         // what Complete said, while the response waits
  bool need_inval = false;
  bool has_descriptor = false;
  wire::Descriptor descriptor;
  std::array<uint8_t, kMaxUserMessage> message;
};

// Operations in the order of their coming, linked through next_waiting.
class OperationList {
 public:
  bool empty() const { return head_ == nullptr; }
  Operation* front() const { return head_; }
  void PushBack(Operation* op) {
    op->next_waiting = nullptr;
    (empty() ? head_ : tail_->next_waiting) = op;
    tail_ = op;
  }
  // The oldest, taken out; nullptr if there is none.
  Operation* PopFront() {
    Operation* op = head_;
    if (op != nullptr) head_ = op->next_waiting;
    return op;
  }

 private:
  Operation* head_ = nullptr;
  Operation* tail_ = nullptr;
};

// What becomes of a request after its header was read.
enum class Verdict {
  kServe,   // well formed
  kRefuse,  // answer EINVAL: the header is whole, its contents are not
  kClose,   // cannot be answered: close the path
};

// Copies the RTRS message at `offset` (< chunk.size()) and the user message in
// front of it out of `chunk`, once, then checks the copies and fills
// direction, data, user_message and the descriptor of `op`. wire.md §4.2.
Verdict ParseRequest(absl::Span<uint8_t> chunk, uint32_t offset, Operation* op);

}  // namespace rtrs::server

#endif  // RTRS_SERVER_OPERATION_H_
