// Listening, and connect requests.
//
// A wildcard address is listened on as such when this device is the only one;
// otherwise by one id for each address that the device has now, because the
// other devices' Fabrics listen on the same port.
//
// A request belongs to whoever has the ConnectRequest; its id hears events on
// the listener's channel until Accept moves it to the queue pair's.
#ifndef RTRS_FABRIC_VERBS_LISTENER_H_
#define RTRS_FABRIC_VERBS_LISTENER_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/verbs/cm_id.h"
#include "rtrs/fabric/verbs/queue_pair.h"

namespace rtrs::fabric::verbs {

class VerbsChannel;

class VerbsConnectRequest : public ConnectRequest {
 public:
  VerbsConnectRequest(std::unique_ptr<CmId> id,
                      std::vector<uint8_t> private_data);
  ~VerbsConnectRequest() override;
  const SocketAddress& local_address() const override { return local_; }
  const SocketAddress& peer_address() const override { return peer_; }
  absl::Span<const uint8_t> private_data() const override {
    return private_data_;
  }
  void Reject(absl::Span<const uint8_t> private_data) override;
  // For Accept; Reject and the destructor do nothing afterwards.
  std::unique_ptr<CmId> TakeId() { return std::move(id_); }

 private:
  std::unique_ptr<CmId> id_;
  std::vector<uint8_t> private_data_;
  SocketAddress local_;
  SocketAddress peer_;
};

class VerbsListener : public Listener {
 public:
  static absl::StatusOr<std::unique_ptr<Listener>> Create(
      VerbsChannel* channel, const SocketAddress& address, int backlog);
  const SocketAddress& local_address() const override { return address_; }

  void OnRequest(std::unique_ptr<CmId> id, std::vector<uint8_t> private_data);
  void OnCmEvent(const CmDetails& details);

 private:
  explicit VerbsListener(VerbsChannel* channel) : channel_(channel) {}
  absl::Status Bind(const SocketAddress& address, int backlog);

  VerbsChannel* channel_;
  SocketAddress address_;
  std::vector<std::unique_ptr<CmId>> ids_;
};

}  // namespace rtrs::fabric::verbs

#endif  // RTRS_FABRIC_VERBS_LISTENER_H_
