#include "rtrs/fabric/softiwarp/connect_request.h"

#include <algorithm>

namespace rtrs::fabric::softiwarp {

MpaFrame ReplyTo(const MpaFrame& request, bool crc, bool rejected,
                 absl::Span<const uint8_t> user_data) {
  MpaFrame reply;
  reply.reply = true;
  reply.crc = crc;
  reply.rejected = rejected;
  reply.revision = request.revision;
  if (request.enhanced) {
    MpaEnhanced& enhanced = reply.enhanced.emplace();
    enhanced.peer_to_peer = request.enhanced->peer_to_peer;
    // The one kind of RTR that this side takes.
    enhanced.rtr_write = enhanced.peer_to_peer;
  }
  if (request.capabilities) reply.capabilities.emplace();
  user_data = user_data.subspan(0, kMpaMaxUserData);
  reply.user_data.assign(user_data.begin(), user_data.end());
  return reply;
}

void IwarpConnectRequest::Reject(absl::Span<const uint8_t> private_data) {
  if (stream_ == nullptr) return;
  mailbox_->Put({std::move(stream_),
                 EncodeMpaFrame(ReplyTo(frame_, /*crc=*/false,
                                        /*rejected=*/true, private_data))});
}

}  // namespace rtrs::fabric::softiwarp
