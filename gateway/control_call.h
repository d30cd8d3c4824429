// An RNBD message of the session (SESS_INFO, OPEN, CLOSE) on its way to the
// server, with its answer. wire.md §7.1.
//
// Lives on the heap until its answer comes, whether or not anybody still waits
// for it: the answer of the server may arrive late, and must find its memory.
#ifndef GATEWAY_CONTROL_CALL_H_
#define GATEWAY_CONTROL_CALL_H_

#include <cstdint>

#include "absl/functional/any_invocable.h"
#include "absl/types/span.h"
#include "rtrs/client/blocking_session.h"

namespace rnbd::gateway {

// What came back. `reply` is valid during the callback only.
struct ControlAnswer {
  int error = 0;             // as in rtrs::client::Request
  bool local_error = false;  // as in rtrs::client::Request
  absl::Span<const uint8_t> reply;
};

// Sends `message` over the service connection, in the life `generation` of the
// session (rtrs::client::Request); `done` is called exactly once,
// by some thread, not from inside this call, and must not block. `reply_size`
// 0: the answer has no body (CLOSE).
void SendControl(rtrs::client::BlockingSession* session, uint32_t generation,
                 absl::Span<const uint8_t> message, uint32_t reply_size,
                 absl::AnyInvocable<void(const ControlAnswer&)> done);

}  // namespace rnbd::gateway

#endif  // GATEWAY_CONTROL_CALL_H_
