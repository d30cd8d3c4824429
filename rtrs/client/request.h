// One asynchronous RTRS request, as its caller sees it.
#ifndef RTRS_CLIENT_REQUEST_H_
#define RTRS_CLIENT_REQUEST_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace rtrs::client {

class Session;

enum class Direction : uint8_t {
  kRead,   // the server writes the answer into `data`
  kWrite,  // `data` goes to the server
};

// Owned by the caller, who keeps it and the memory it names alive and
// unchanged from Submit until `done` is called. Reusable afterwards.
struct Request {
  Direction direction = Direction::kRead;
  // Goes over the service connection (cid 0): RNBD's session messages.
  bool service = false;
  // Requests with the same number share a connection and so a server worker.
  uint32_t affinity = 0;
  // Session::generation() for which the request makes sense, because it names
  // things that a server forgets with the session (device ids); 0: any. In
  // another one it fails with ECONNABORTED and is not sent.
  uint32_t generation = 0;
  // The RNBD message; copied during Submit.
  absl::Span<const uint8_t> user_message;
  // At most SessionLimits::max_io_size bytes; 0 for flush, discard, close.
  uint8_t* data = nullptr;
  uint32_t data_len = 0;

  // Called exactly once for each Submit that took the request, by the thread
  // that runs the session, never from inside Submit. May submit again. Must
  // not block.
  void (*done)(Request*) = nullptr;
  void* context = nullptr;  // the caller's

  // Valid in `done`. 0, the positive errno that the server answered, or, with
  // `local_error`, an errno of this side: ECONNABORTED (no path was left, and
  // the server may or may not have executed it), ETIMEDOUT, ESHUTDOWN.
  int error = 0;
  bool local_error = false;

  // The session's, while it has the request.
  struct Private {
    Request* next = nullptr;
    Request* previous = nullptr;
    uint32_t permit = 0;
    uint8_t state = 0;
    void* owner = nullptr;             // BlockingSession::Submit's
    void (*done)(Request*) = nullptr;  // the caller's, meanwhile
  } priv;
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_REQUEST_H_
