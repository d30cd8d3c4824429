// Accepts connections and waits for their MPA Request, with limits on how many
// and how long. spec/iwarp.md §1.2. One thread, that of its channel.
#ifndef RTRS_FABRIC_SOFTIWARP_LISTENER_H_
#define RTRS_FABRIC_SOFTIWARP_LISTENER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/softiwarp/event_channel.h"
#include "rtrs/fabric/softiwarp/mpa.h"
#include "rtrs/fabric/softiwarp/transport.h"

namespace rtrs::fabric::softiwarp {

class IwarpListener;

// A connection whose Request is not complete.
class HalfOpen : public EventSource {
 public:
  HalfOpen(IwarpListener* listener, std::unique_ptr<ByteStream> stream);
  ~HalfOpen() override;
  absl::Status Start();
  void OnReady(uint32_t interest) override;
  void OnTimer() override;

 private:
  // Takes the stream out of the channel's hands.
  std::unique_ptr<ByteStream> Detach();
  void Close(absl::string_view why);
  void Refuse(absl::string_view why);

  IwarpListener* listener_;
  Channel* channel_;
  std::unique_ptr<ByteStream> stream_;
  MpaFrame frame_;
  size_t used_ = 0;
  // One byte more than the longest frame, to see what must not follow it.
  std::array<uint8_t, kMpaMaxFrame + 1> buffer_;
};

class IwarpListener : public Listener, public EventSource {
 public:
  IwarpListener(Channel* channel, std::unique_ptr<StreamListener> acceptor);
  ~IwarpListener() override;
  absl::Status Start();

  const SocketAddress& local_address() const override {
    return acceptor_->local_address();
  }
  void OnReady(uint32_t interest) override;
  void OnTimer() override;

  Channel* channel() const { return channel_; }
  // `half_open` is through, one way or the other.
  void Remove(HalfOpen* half_open);

 private:
  Channel* channel_;
  std::unique_ptr<StreamListener> acceptor_;
  absl::flat_hash_map<HalfOpen*, std::unique_ptr<HalfOpen>> half_open_;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_LISTENER_H_
