// A connection whose MPA Request is complete and waits for an answer. Owns its
// stream, belongs to no channel, and may move between threads.
#ifndef RTRS_FABRIC_SOFTIWARP_CONNECT_REQUEST_H_
#define RTRS_FABRIC_SOFTIWARP_CONNECT_REQUEST_H_

#include <memory>
#include <utility>

#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/softiwarp/event_channel.h"
#include "rtrs/fabric/softiwarp/mpa.h"
#include "rtrs/fabric/softiwarp/transport.h"

namespace rtrs::fabric::softiwarp {

// The Reply to `request`: accepting, or rejecting if `rejected`; CRCs if
// `crc`. spec/iwarp.md §1.2, §1.3.
MpaFrame ReplyTo(const MpaFrame& request, bool crc, bool rejected,
                 absl::Span<const uint8_t> user_data);

class IwarpConnectRequest : public ConnectRequest {
 public:
  // `mailbox` takes the stream when it is rejected.
  IwarpConnectRequest(std::shared_ptr<Mailbox> mailbox,
                      std::unique_ptr<ByteStream> stream, MpaFrame frame)
      : mailbox_(std::move(mailbox)),
        stream_(std::move(stream)),
        frame_(std::move(frame)) {}
  ~IwarpConnectRequest() override { Reject({}); }

  const SocketAddress& local_address() const override {
    return stream_->local_address();
  }
  const SocketAddress& peer_address() const override {
    return stream_->peer_address();
  }
  absl::Span<const uint8_t> private_data() const override {
    return frame_.user_data;
  }
  void Reject(absl::Span<const uint8_t> private_data) override;

  const MpaFrame& frame() const { return frame_; }
  // nullptr once it was answered.
  std::unique_ptr<ByteStream> TakeStream() { return std::move(stream_); }

 private:
  std::shared_ptr<Mailbox> mailbox_;
  std::unique_ptr<ByteStream> stream_;
  MpaFrame frame_;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_CONNECT_REQUEST_H_
