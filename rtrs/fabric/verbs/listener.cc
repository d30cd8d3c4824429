#include "rtrs/fabric/verbs/listener.h"

#include <errno.h>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/verbs/addresses.h"
#include "rtrs/fabric/verbs/channel.h"
#include "rtrs/fabric/verbs/translate.h"
#include "rtrs/fabric/verbs/verbs.h"

namespace rtrs::fabric::verbs {

absl::StatusOr<std::unique_ptr<CmId>> CmId::Create(rdma_event_channel* channel,
                                                   rdma_port_space port_space) {
  rdma_cm_id* id = nullptr;
  if (rdma_create_id(channel, &id, nullptr, port_space) != 0) {
    return ErrnoError(errno, "rdma_create_id");
  }
  return std::make_unique<CmId>(id);
}

VerbsConnectRequest::VerbsConnectRequest(std::unique_ptr<CmId> id,
                                         std::vector<uint8_t> private_data)
    : id_(std::move(id)),
      private_data_(std::move(private_data)),
      local_(FromCmAddress(rdma_get_local_addr(id_->get()))),
      peer_(FromCmAddress(rdma_get_peer_addr(id_->get()))) {}

VerbsConnectRequest::~VerbsConnectRequest() {
  if (id_ != nullptr) Reject({});
}

void VerbsConnectRequest::Reject(absl::Span<const uint8_t> private_data) {
  const std::unique_ptr<CmId> id = std::move(id_);
  if (id == nullptr) return;
  if (rdma_reject(id->get(), private_data.data(),
                  static_cast<uint8_t>(private_data.size())) != 0) {
    // It has gone away by itself.
    RTRS_LOG(debug, "rejecting {}: {}", peer_.ToString(),
             ErrnoError(errno, "rdma_reject"));
  }
}

absl::StatusOr<std::unique_ptr<Listener>> VerbsListener::Create(
    VerbsChannel* channel, const SocketAddress& address, int backlog) {
  if (address.IsLoopback()) {
    // Binding would work; reaching it does not.
    return ErrnoError(EADDRNOTAVAIL,
                      absl::StrCat("no RDMA over ", address.HostString()));
  }
  auto listener = std::unique_ptr<VerbsListener>(new VerbsListener(channel));
  listener->address_ = address;
  const std::string& device = channel->fabric()->device().name;
  if (!address.IsAny()) {
    // Asked before binding: the device that has the address may listen there
    // already, which is no error of this one.
    const absl::StatusOr<std::string> owner = FindDeviceOfAddress(address);
    if (!owner.ok() || *owner != device) {
      return ErrnoError(
          EADDRNOTAVAIL,
          absl::StrCat(address.HostString(), " is not of RDMA device ", device,
                       owner.ok() ? absl::StrCat(" but of ", *owner) : ""));
    }
    RTRS_RETURN_IF_ERROR(listener->Bind(address, backlog));
  } else if (ListDevices().size() == 1) {
    RTRS_RETURN_IF_ERROR(listener->Bind(address, backlog));
  } else {
    for (SocketAddress each : DeviceAddresses(channel->fabric()->context())) {
      if (address.family() == AF_INET && each.family() != AF_INET) continue;
      each.set_port(listener->address_.port());
      RTRS_RETURN_IF_ERROR(listener->Bind(each, backlog));
    }
  }
  if (listener->ids_.empty()) {
    return ErrnoError(
        EADDRNOTAVAIL,
        absl::StrCat("RDMA device ", channel->fabric()->device().name,
                     " has no address to listen on"));
  }
  return listener;
}

absl::Status VerbsListener::Bind(const SocketAddress& address, int backlog) {
  RTRS_ASSIGN_OR_RETURN(std::unique_ptr<CmId> id,
                        CmId::Create(channel_->cm_channel(), RDMA_PS_TCP));
  id->listener = this;
  const std::string& device = channel_->fabric()->device().name;
  const std::string what = absl::StrCat("listen on ", address.ToString(),
                                        " of RDMA device ", device);
  if (rdma_bind_addr(id->get(), const_cast<sockaddr*>(address.addr())) != 0) {
    return ErrnoError(errno, what);
  }
  if (rdma_listen(id->get(), backlog) != 0) return ErrnoError(errno, what);
  address_.set_port(ntohs(rdma_get_src_port(id->get())));
  ids_.push_back(std::move(id));
  return absl::OkStatus();
}

void VerbsListener::OnRequest(std::unique_ptr<CmId> id,
                              std::vector<uint8_t> private_data) {
  if ((*id)->verbs != channel_->fabric()->context()) {
    RTRS_LOG_EVERY(warn, absl::Seconds(5),
                   "connect request on another device than {}: refused",
                   channel_->fabric()->device().name);
    return;
  }
  CmEvent event;
  event.type = CmEvent::Type::kConnectRequest;
  event.request = std::make_unique<VerbsConnectRequest>(
      std::move(id), std::move(private_data));
  channel_->Push(std::move(event));
}

void VerbsListener::OnCmEvent(const CmDetails& details) {
  RTRS_LOG(warn, "listener on {} of RDMA device {}: {}", address_.ToString(),
           channel_->fabric()->device().name, rdma_event_str(details.type));
  if (details.type != RDMA_CM_EVENT_DEVICE_REMOVAL) return;
  CmEvent event;
  event.type = CmEvent::Type::kDeviceRemoved;
  channel_->Push(std::move(event));
}

}  // namespace rtrs::fabric::verbs
