// One RTRS request at the server, as the layer above (RNBD) sees it.
#ifndef RTRS_SERVER_REQUEST_H_
#define RTRS_SERVER_REQUEST_H_

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace rtrs::server {

class Session;
class Worker;

enum class Direction : uint8_t {
  kRead,   // the layer above fills `data`, which goes to the client on success
  kWrite,  // `data` came from the client
};

// Belongs to the RTRS server. The layer above has it from Handler::OnRequest
// until Complete. Used on its worker's thread only, except that the bytes of
// `data` may be read and written anywhere.
class Request {
 public:
  // Bytes of the longest user message kept; longer ones are refused.
  static constexpr size_t kMaxUserMessage = 264;

  Direction direction = Direction::kRead;
  // kWrite: the client's data in the chunk; a hostile client may change it at
  // any time. kRead: where the answer goes, as long as the client's buffer
  // (checked: it lies in the chunk), empty if the client offered none.
  absl::Span<uint8_t> data;
  // Copied out of the chunk before it was looked at.
  absl::Span<const uint8_t> user_message;
  Session* session = nullptr;
  Worker* worker = nullptr;
  // Number of the chunk: 0 .. queue_depth-1.
  uint32_t buf_id = 0;

  // Answers with 0 or a positive errno, exactly once, on the worker's thread.
  // The answer leaves with the worker's next flush. The request must not be
  // touched afterwards.
  virtual void Complete(int error) = 0;

  // Room for the layer above (its device reference, io_uring bookkeeping),
  // untouched by RTRS and not initialised.
  static constexpr size_t kScratchSize = 128;
  alignas(16) unsigned char scratch[kScratchSize];

 protected:
  ~Request() = default;
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_REQUEST_H_
