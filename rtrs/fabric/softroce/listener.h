// A listener by service id on one address or all of one family, and the
// connection requests that arrive at it. roce.md §11.1, §12.
#ifndef RTRS_FABRIC_SOFTROCE_LISTENER_H_
#define RTRS_FABRIC_SOFTROCE_LISTENER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/softroce/cm_agent.h"
#include "rtrs/fabric/softroce/host.h"

namespace rtrs::softroce {

class Channel;

// Of the channel's thread, but for OnRequest.
class RoceListener : public fabric::Listener {
 public:
  // Without the mutex. On the wildcard address it listens on each address that
  // the host has now, but for those whose port 4791 is taken.
  static absl::StatusOr<std::unique_ptr<RoceListener>> Create(
      Channel* channel, const SocketAddress& address);
  ~RoceListener() override;

  const SocketAddress& local_address() const override { return address_; }

  // With the mutex: `session` has received a REQ.
  void OnRequest(const CmSession& session);

 private:
  RoceListener(Channel* channel, const SocketAddress& address)
      : channel_(channel), address_(address) {}
  absl::Status ListenOn(const SocketAddress& address);
  void ChoosePort(const std::vector<SocketAddress>& addresses);

  Channel* const channel_;
  SocketAddress address_;
  std::vector<SocketAddress> engines_;  // where it is registered
};

// Refers to its session by number: engine and session may be gone before it.
// Moves between threads.
class RoceConnectRequest : public fabric::ConnectRequest {
 public:
  RoceConnectRequest(Host* host, const SocketAddress& local,
                     const CmSession& session);
  ~RoceConnectRequest() override { Reject({}); }

  const SocketAddress& local_address() const override { return local_; }
  const SocketAddress& peer_address() const override { return peer_; }
  absl::Span<const uint8_t> private_data() const override {
    return private_data_;
  }
  void Reject(absl::Span<const uint8_t> private_data) override;

  // For Accept, with the mutex: the session, if it still waits for an answer.
  // The request is answered from then on.
  CmSession* TakeSession();

 private:
  Host* const host_;
  const SocketAddress local_;
  SocketAddress peer_;
  const uint32_t comm_id_;
  std::vector<uint8_t> private_data_;
  bool answered_ = false;
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_LISTENER_H_
