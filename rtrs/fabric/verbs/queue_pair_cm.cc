// The connection of a queue pair: rdma_cm events, state transitions, the end.

#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/verbs/channel.h"
#include "rtrs/fabric/verbs/listener.h"
#include "rtrs/fabric/verbs/queue_pair.h"
#include "rtrs/fabric/verbs/translate.h"

namespace rtrs::fabric::verbs {

namespace {

// How long Disconnect waits for sends to be delivered, then for the answer.
constexpr absl::Duration kDrainTime = absl::Seconds(2);
constexpr absl::Duration kLeaveTime = absl::Seconds(5);
// Code 12 of the InfiniBand table: 0.64 ms. What rdma_cm puts there (0) means
// 655 ms, which makes each receive that comes late very dear.
constexpr uint8_t kMinRnrTimer = 12;
// 4.096 us * 2^22 = 17 s, instead of the 2.1 s of rdma_cm: rdma_rxe runs one
// timer for all that is under way, and when it is over sends again whatever is
// just then, however young. Longer than that would be a path that hangs until
// the heartbeat ends it when the last packet of several is lost.
constexpr uint8_t kPatientAckTimeout = 22;
// Bits of an attribute mask that are the kernel's own.
constexpr int kKernelMaskBits = 0xe00000;

}  // namespace

void VerbsQueuePair::SetDeadline(absl::Time deadline) {
  deadline_ = deadline;
  channel_->WatchDeadline(this, deadline != absl::InfiniteFuture());
}

rdma_conn_param VerbsQueuePair::ConnectionParameters(
    absl::Span<const uint8_t> private_data) const {
  rdma_conn_param param{};
  param.private_data = private_data.data();
  param.private_data_len = static_cast<uint8_t>(private_data.size());
  param.retry_count = kRetryCount;
  param.rnr_retry_count = kRnrRetryCount;
  param.qp_num = qp_->qp_num;
  return param;
}

// Before the active side resolves the route, which takes it up. Its timeout
// holds for both ends: it is in the request. roce.md §12.6.
absl::Status VerbsQueuePair::SetAckTimeout() {
  if (!patient_) return absl::OkStatus();
  uint8_t timeout = kPatientAckTimeout;
  if (rdma_set_option(id_->get(), RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT,
                      &timeout, sizeof(timeout)) != 0) {
    return ErrnoError(errno, "rdma_set_option ack timeout");
  }
  return absl::OkStatus();
}

absl::Status VerbsQueuePair::ModifyTo(ibv_qp_state state) {
  ibv_qp_attr attr{};
  int mask = 0;
  attr.qp_state = state;
  if (rdma_init_qp_attr(id_->get(), &attr, &mask) != 0) {
    return ErrnoError(errno, "rdma_init_qp_attr");
  }
  mask &= ~kKernelMaskBits;
  if (state == IBV_QPS_INIT) {
    // Before the request is sent rdma_cm knows of no access rights yet.
    attr.qp_access_flags = QueuePairAccess(channel_->fabric()->device());
    mask |= IBV_QP_ACCESS_FLAGS;
  }
  if (state == IBV_QPS_RTR) {
    attr.min_rnr_timer = kMinRnrTimer;
    mask |= IBV_QP_MIN_RNR_TIMER;
  }
  if (const int error = ibv_modify_qp(qp_, &attr, mask); error != 0) {
    return ErrnoError(error, "ibv_modify_qp");
  }
  return absl::OkStatus();
}

absl::Status VerbsQueuePair::Connect(const PathSpec& path,
                                     absl::Span<const uint8_t> private_data,
                                     absl::Duration timeout) {
  if (phase_ != Phase::kIdle) {
    return absl::FailedPreconditionError("connect on a used queue pair");
  }
  RTRS_ASSIGN_OR_RETURN(
      id_, CmId::Create(channel_->cm_channel(), PortSpaceOf(path.destination)));
  id_->qp = this;
  peer_ = path.destination.ip;
  peer_.set_port(path.port);
  connect_data_.assign(private_data.begin(), private_data.end());
  CmAddress source = ToCmAddress(path.source, 0);
  CmAddress destination = ToCmAddress(path.destination, path.port);
  const int64_t ms =
      std::clamp<int64_t>(absl::ToInt64Milliseconds(timeout), 1, 600'000);
  if (rdma_resolve_addr(
          id_->get(),
          path.source.kind == PathEnd::Kind::kNone ? nullptr : source.get(),
          destination.get(), static_cast<int>(ms)) != 0) {
    const int error = errno;
    id_.reset();
    return ErrnoError(error,
                      absl::StrCat("no RDMA route for ", path.ToString()));
  }
  SetDeadline(Clock::System()->Now() + timeout);
  Move(Phase::kAddress);
  return absl::OkStatus();
}

absl::Status VerbsQueuePair::OnAddressResolved() {
  const ibv_context* found = (*id_)->verbs;
  if (found != channel_->fabric()->context()) {
    return ErrnoError(
        ENODEV,
        absl::StrCat(
            peer_.ToString(), " is reached by RDMA device ",
            found != nullptr ? ibv_get_device_name(found->device) : "none",
            ", not by ", channel_->fabric()->device().name));
  }
  RTRS_RETURN_IF_ERROR(SetAckTimeout());
  const int64_t ms =
      absl::ToInt64Milliseconds(deadline_ - Clock::System()->Now());
  if (rdma_resolve_route(id_->get(),
                         static_cast<int>(std::max<int64_t>(1, ms))) != 0) {
    return ErrnoError(errno, "rdma_resolve_route");
  }
  Move(Phase::kRoute);
  return absl::OkStatus();
}

absl::Status VerbsQueuePair::OnRouteResolved() {
  RTRS_RETURN_IF_ERROR(ModifyTo(IBV_QPS_INIT));
  rdma_conn_param param = ConnectionParameters(connect_data_);
  if (rdma_connect(id_->get(), &param) != 0) {
    return ErrnoError(errno, "rdma_connect");
  }
  Move(Phase::kRequested);
  return absl::OkStatus();
}

absl::Status VerbsQueuePair::OnConnectResponse(const CmDetails& details) {
  RTRS_RETURN_IF_ERROR(ModifyTo(IBV_QPS_RTR));
  RTRS_RETURN_IF_ERROR(ModifyTo(IBV_QPS_RTS));
  if (rdma_establish(id_->get()) != 0) {
    return ErrnoError(errno, "rdma_establish");
  }
  Established(details.private_data);
  return absl::OkStatus();
}

absl::Status VerbsQueuePair::Accept(std::unique_ptr<ConnectRequest> request,
                                    absl::Span<const uint8_t> private_data) {
  if (phase_ != Phase::kIdle) {
    return absl::FailedPreconditionError("accept on a used queue pair");
  }
  auto* ours = static_cast<VerbsConnectRequest*>(request.get());
  local_ = ours->local_address();
  peer_ = ours->peer_address();
  id_ = ours->TakeId();
  if (id_ == nullptr) {
    return absl::FailedPreconditionError("the request was answered already");
  }
  const auto accept = [&]() -> absl::Status {
    // From here on its events come to our thread.
    if ((*id_)->channel != channel_->cm_channel() &&
        rdma_migrate_id(id_->get(), channel_->cm_channel()) != 0) {
      return ErrnoError(errno, "rdma_migrate_id");
    }
    id_->qp = this;
    RTRS_RETURN_IF_ERROR(SetAckTimeout());
    RTRS_RETURN_IF_ERROR(ModifyTo(IBV_QPS_INIT));
    RTRS_RETURN_IF_ERROR(ModifyTo(IBV_QPS_RTR));
    RTRS_RETURN_IF_ERROR(ModifyTo(IBV_QPS_RTS));
    rdma_conn_param param = ConnectionParameters(private_data);
    if (rdma_accept(id_->get(), &param) != 0) {
      return ErrnoError(errno, "rdma_accept");
    }
    return absl::OkStatus();
  };
  Move(Phase::kAccepted);
  if (const absl::Status status = accept(); !status.ok()) {
    Fail(CmEvent::Type::kDisconnected,
         Annotate(status, absl::StrCat("accepting ", peer_.ToString())));
  }
  return absl::OkStatus();
}

void VerbsQueuePair::Established(std::vector<uint8_t> private_data) {
  local_ = FromCmAddress(rdma_get_local_addr(id_->get()));
  peer_ = FromCmAddress(rdma_get_peer_addr(id_->get()));
  connect_data_.clear();
  SetDeadline(absl::InfiniteFuture());
  Move(Phase::kConnected);
  CmEvent event;
  event.type = CmEvent::Type::kEstablished;
  event.qp = this;
  event.private_data = std::move(private_data);
  channel_->Push(std::move(event));
}

void VerbsQueuePair::OnCmEvent(const CmDetails& details) {
  if (!alive()) return;  // TIMEWAIT_EXIT and other epilogues
  const bool connecting = phase_ < Phase::kConnected;
  const bool active = connecting && phase_ != Phase::kAccepted;
  const auto failure =
      active ? CmEvent::Type::kConnectError : CmEvent::Type::kDisconnected;
  absl::Status step;
  switch (details.type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED:
      step = OnAddressResolved();
      break;
    case RDMA_CM_EVENT_ROUTE_RESOLVED:
      step = OnRouteResolved();
      break;
    case RDMA_CM_EVENT_CONNECT_RESPONSE:
      step = OnConnectResponse(details);
      break;
    case RDMA_CM_EVENT_ESTABLISHED:
      if (phase_ == Phase::kAccepted) Established({});
      break;
    case RDMA_CM_EVENT_ADDR_ERROR:
    case RDMA_CM_EVENT_ROUTE_ERROR:
      Fail(failure, ErrnoError(EHOSTUNREACH, absl::StrCat("no RDMA route to ",
                                                          peer_.ToString())));
      return;
    case RDMA_CM_EVENT_REJECTED:
      // Only the peer's application rejects; any other reason is the
      // connection manager's, which means that nobody is there.
      if (active && details.status == kConsumerReject) {
        Fail(CmEvent::Type::kRejected, RejectStatus(details.status, peer_),
             details.private_data);
      } else {
        Fail(failure, RejectStatus(details.status, peer_));
      }
      return;
    case RDMA_CM_EVENT_UNREACHABLE:
      Fail(failure, ErrnoError(ETIMEDOUT, absl::StrCat(peer_.ToString(),
                                                       " does not answer")));
      return;
    case RDMA_CM_EVENT_DEVICE_REMOVAL:
      Fail(CmEvent::Type::kDeviceRemoved,
           ErrnoError(ENODEV, absl::StrCat("RDMA device ",
                                           channel_->fabric()->device().name,
                                           " goes away")));
      return;
    case RDMA_CM_EVENT_DISCONNECTED:
      Fail(failure,
           ErrnoError(ECONNRESET,
                      disconnect_called_
                          ? "disconnected"
                          : absl::StrCat(peer_.ToString(), " disconnected")));
      return;
    default:
      Fail(failure,
           ErrnoError(ECONNRESET, absl::StrCat(peer_.ToString(), ": ",
                                               rdma_event_str(details.type),
                                               ", status ", details.status)));
      return;
  }
  if (!step.ok()) Fail(failure, step);
}

void VerbsQueuePair::OnAsyncEvent(ibv_event_type event) {
  if (!alive()) return;
  if (event == IBV_EVENT_COMM_EST) {
    // Data came before the peer's last word of the handshake: rdma_cm may take
    // the connection as established.
    if (id_ != nullptr) rdma_notify(id_->get(), event);
    return;
  }
  Fail(event == IBV_EVENT_DEVICE_FATAL ? CmEvent::Type::kDeviceRemoved
                                       : CmEvent::Type::kDisconnected,
       ErrnoError(ECONNRESET, ibv_event_type_str(event)));
}

void VerbsQueuePair::OnDeadline() {
  switch (phase_) {
    case Phase::kDraining:
      RTRS_LOG(info, "{}: {} did not take everything in {}", Name(),
               peer_.ToString(), kDrainTime);
      Leave();
      break;
    case Phase::kLeaving:
      Fail(CmEvent::Type::kDisconnected,
           ErrnoError(ETIMEDOUT, absl::StrCat(peer_.ToString(),
                                              " does not answer the disconnect "
                                              "request")));
      break;
    default:
      Fail(
          CmEvent::Type::kConnectError,
          ErrnoError(ETIMEDOUT, absl::StrCat("connecting to ", peer_.ToString(),
                                             ", while ", PhaseName(phase_))));
  }
}

void VerbsQueuePair::Disconnect() {
  if (disconnect_called_) return;
  disconnect_called_ = true;
  if (phase_ == Phase::kDead) {
    Move(Phase::kClosed);
    return;
  }
  if (phase_ != Phase::kConnected) {
    if (phase_ != Phase::kIdle) {
      Fail(CmEvent::Type::kDisconnected, absl::CancelledError("disconnected"));
    }
    return;
  }
  FlushSends();
  if (phase_ != Phase::kConnected) return;  // the flush failed
  if (sends_.slots().used() == 0) {
    Leave();
    return;
  }
  // A write of nothing: completes when everything before it was delivered.
  Move(Phase::kDraining);
  SetDeadline(Clock::System()->Now() + kDrainTime);
  SendWr marker;
  marker.wr_id = reinterpret_cast<uint64_t>(this);
  marker.opcode = WrOpcode::kRdmaWrite;
  marker.flags = kSignaled;
  sends_.slots().Post(true);
  sends_.Append(marker, false);
  FlushSends();
}

void VerbsQueuePair::Leave() {
  ibv_qp_attr attr{};
  attr.qp_state = IBV_QPS_ERR;
  ibv_modify_qp(qp_, &attr, IBV_QP_STATE);
  Move(Phase::kLeaving);
  SetDeadline(Clock::System()->Now() + kLeaveTime);
  if (rdma_disconnect(id_->get()) != 0) {
    Fail(CmEvent::Type::kDisconnected, ErrnoError(errno, "rdma_disconnect"));
  }
}

void VerbsQueuePair::Fail(CmEvent::Type type, const absl::Status& why,
                          std::vector<uint8_t> private_data) {
  const Phase before = phase_;
  Move(disconnect_called_ ? Phase::kClosed : Phase::kDead, why);
  SetDeadline(absl::InfiniteFuture());
  if (before != Phase::kLeaving) {
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_ERR;
    ibv_modify_qp(qp_, &attr, IBV_QP_STATE);
  }
  if (before == Phase::kConnected || before == Phase::kDraining) {
    // Answers a disconnect request, or sends one: either way the peer need
    // not wait for our caller.
    rdma_disconnect(id_->get());
  } else if (before != Phase::kLeaving) {
    id_.reset();  // rejects what is half open
  }
  CmEvent event;
  event.type = type;
  event.qp = this;
  event.status = why;
  event.private_data = std::move(private_data);
  channel_->Push(std::move(event));
}

}  // namespace rtrs::fabric::verbs
