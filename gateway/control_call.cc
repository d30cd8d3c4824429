#include "gateway/control_call.h"

#include <memory>
#include <utility>
#include <vector>

#include "rtrs/client/request.h"

namespace rnbd::gateway {
namespace {

using rtrs::client::Direction;
using rtrs::client::Request;

struct ControlCall {
  Request request;
  std::vector<uint8_t> message;
  std::vector<uint8_t> reply;
  absl::AnyInvocable<void(const ControlAnswer&)> done;
};

void Done(Request* request) {
  const std::unique_ptr<ControlCall> call(
      static_cast<ControlCall*>(request->context));
  call->done({request->error, request->local_error, call->reply});
}

}  // namespace

void SendControl(rtrs::client::BlockingSession* session, uint32_t generation,
                 absl::Span<const uint8_t> message, uint32_t reply_size,
                 absl::AnyInvocable<void(const ControlAnswer&)> done) {
  auto* const call = new ControlCall;  // deleted by Done
  call->message.assign(message.begin(), message.end());
  call->reply.resize(reply_size);
  call->done = std::move(done);
  Request& request = call->request;
  request.service = true;
  request.generation = generation;
  request.direction = reply_size == 0 ? Direction::kWrite : Direction::kRead;
  request.user_message = call->message;
  request.data = reply_size == 0 ? nullptr : call->reply.data();
  request.data_len = reply_size;
  request.done = Done;
  request.context = call;
  session->Submit(&request);
}

}  // namespace rnbd::gateway
