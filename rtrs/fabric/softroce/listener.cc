#include "rtrs/fabric/softroce/listener.h"

#include <errno.h>

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/softroce/channel.h"
#include "rtrs/fabric/softroce/engine.h"

namespace rtrs::softroce {
namespace {

// Where port 0 is asked for: the range of dynamic ports.
constexpr uint16_t kFirstDynamicPort = 49152;
constexpr uint16_t kDynamicPorts = 16384;

SocketAddress WithPort(SocketAddress address, uint16_t port) {
  address.set_port(port);
  return address;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RoceListener>> RoceListener::Create(
    Channel* channel, const SocketAddress& address) {
  Host* host = channel->host();
  auto listener = absl::WrapUnique(new RoceListener(channel, address));
  std::vector<SocketAddress> addresses = {address};
  if (address.IsAny()) {
    addresses = host->transport()->LocalAddresses(address.family());
  }
  // The destructor of an unfinished listener takes the mutex itself.
  absl::Status last = ErrnoError(
      EADDRNOTAVAIL,
      absl::StrCat("no address to listen on for ", address.ToString()));
  {
    MutexLock lock(host->mutex());
    if (address.port() == 0) listener->ChoosePort(addresses);
    for (const SocketAddress& each : addresses) {
      const absl::Status status = listener->ListenOn(each);
      if (status.ok()) continue;
      last = status;
      if (address.IsAny()) {
        RTRS_LOG(info, "softroce: not listening on {}: {}", each.HostString(),
                 status);
      }
    }
  }
  if (listener->engines_.empty()) return last;
  return listener;
}

void RoceListener::ChoosePort(const std::vector<SocketAddress>& addresses) {
  Host* host = channel_->host();
  for (bool taken = true; taken;) {
    address_.set_port(static_cast<uint16_t>(
        kFirstDynamicPort + host->random()->Below(kDynamicPorts)));
    taken = false;
    for (const SocketAddress& each : addresses) {
      Engine* engine = host->Find(each);
      taken |= engine != nullptr && engine->cm()->HasListener(address_.port());
    }
  }
}

absl::Status RoceListener::ListenOn(const SocketAddress& address) {
  RTRS_ASSIGN_OR_RETURN(Engine * engine, channel_->host()->EngineAt(address));
  RTRS_RETURN_IF_ERROR(engine->cm()->AddListener(address_.port(), this));
  engines_.push_back(address);
  return absl::OkStatus();
}

RoceListener::~RoceListener() {
  MutexLock lock(channel_->host()->mutex());
  for (const SocketAddress& address : engines_) {
    if (Engine* engine = channel_->host()->Find(address)) {
      engine->cm()->RemoveListener(address_.port());
    }
  }
}

void RoceListener::OnRequest(const CmSession& session) {
  fabric::CmEvent event;
  event.type = fabric::CmEvent::Type::kConnectRequest;
  event.request = std::make_unique<RoceConnectRequest>(
      channel_->host(), WithPort(session.local_address(), address_.port()),
      session);
  channel_->PushEvent(std::move(event));
}

RoceConnectRequest::RoceConnectRequest(Host* host, const SocketAddress& local,
                                       const CmSession& session)
    : host_(host),
      local_(local),
      peer_(WithPort(session.peer(), session.connection.req().source_port)),
      comm_id_(session.connection.local_comm_id()),
      private_data_(session.connection.req().private_data.begin(),
                    session.connection.req().private_data.end()) {}

CmSession* RoceConnectRequest::TakeSession() {
  if (std::exchange(answered_, true)) return nullptr;
  Engine* engine = host_->Find(local_);
  CmSession* session =
      engine == nullptr ? nullptr : engine->cm()->Find(comm_id_);
  return session != nullptr &&
                 session->connection.state() == CmState::kReqReceived
             ? session
             : nullptr;
}

void RoceConnectRequest::Reject(absl::Span<const uint8_t> private_data) {
  if (answered_) return;
  MutexLock lock(host_->mutex());
  CmSession* session = TakeSession();
  if (session == nullptr) return;
  session->connection.Reject(RejectReason::kConsumer, private_data,
                             host_->clock()->Now());
  host_->Find(local_)->cm()->Changed(session);
}

}  // namespace rtrs::softroce
