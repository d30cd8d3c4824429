#include "rtrs/fabric/verbs/queue_pair.h"

#include <errno.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/verbs/channel.h"
#include "rtrs/fabric/verbs/device.h"
#include "rtrs/fabric/verbs/translate.h"

namespace rtrs::fabric::verbs {

VerbsQueuePair::VerbsQueuePair(VerbsChannel* channel, const QueuePairInit& init)
    : channel_(channel),
      cq_(static_cast<VerbsCq*>(init.cq)),
      max_send_wr_(init.max_send_wr),
      max_recv_wr_(init.max_recv_wr),
      patient_(init.rekeyed && channel->fabric()->repeats_local_work()),
      sends_(init.max_send_wr + 1, init.max_send_sge, init.max_inline) {
  context_ = init.context;
}

absl::StatusOr<std::unique_ptr<QueuePair>> VerbsQueuePair::Create(
    VerbsChannel* channel, const QueuePairInit& init) {
  const DeviceAttr& device = channel->fabric()->device();
  if (init.pd == nullptr || init.cq == nullptr || init.max_send_wr == 0) {
    return absl::InvalidArgumentError("a queue pair without pd, cq or sends");
  }
  if (init.max_send_wr > device.max_qp_wr ||
      init.max_recv_wr > device.max_qp_wr) {
    return absl::InvalidArgumentError(
        absl::StrCat("a queue pair of ", init.max_send_wr, " sends and ",
                     init.max_recv_wr, " receives: ", device.name, " has ",
                     device.max_qp_wr, "; use a smaller queue depth"));
  }
  if (init.max_send_sge > device.max_send_sge ||
      init.max_inline > device.max_inline) {
    return absl::InvalidArgumentError(
        absl::StrCat("a queue pair with ", init.max_send_sge, " entries and ",
                     init.max_inline, " inline bytes a send: ", device.name,
                     " has ", device.max_send_sge, " and ", device.max_inline));
  }
  auto qp = std::unique_ptr<VerbsQueuePair>(new VerbsQueuePair(channel, init));
  RTRS_RETURN_IF_ERROR(qp->Open(init));
  return qp;
}

absl::Status VerbsQueuePair::Open(const QueuePairInit& init) {
  RTRS_ASSIGN_OR_RETURN(shard_, cq_->Reserve(max_send_wr_ + 1 + max_recv_wr_));
  ibv_qp_init_attr attr{};
  attr.qp_context = this;
  attr.send_cq = attr.recv_cq = shard_->cq;
  attr.qp_type = IBV_QPT_RC;
  attr.sq_sig_all = 0;
  attr.cap = {.max_send_wr = max_send_wr_ + 1,
              .max_recv_wr = std::max(1u, max_recv_wr_),
              .max_send_sge = std::max(1u, init.max_send_sge),
              .max_recv_sge = 1,
              .max_inline_data = init.max_inline};
  qp_ = ibv_create_qp(static_cast<VerbsPd*>(init.pd)->get(), &attr);
  if (qp_ == nullptr) {
    return ErrnoError(
        errno, absl::StrCat("queue pair of ", max_send_wr_, " sends and ",
                            max_recv_wr_, " receives on ",
                            channel_->fabric()->device().name));
  }
  channel_->AddQueuePair(qp_->qp_num, this);
  // Receives may be posted from here on. rdma_cm will name the port again.
  ibv_qp_attr init_state{};
  init_state.qp_state = IBV_QPS_INIT;
  init_state.pkey_index = 0;
  init_state.port_num = channel_->fabric()->port();
  init_state.qp_access_flags = QueuePairAccess(channel_->fabric()->device());
  if (const int error = ibv_modify_qp(
          qp_, &init_state,
          IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
      error != 0) {
    return ErrnoError(error, "ibv_modify_qp to INIT");
  }
  return absl::OkStatus();
}

VerbsQueuePair::~VerbsQueuePair() {
  // First the queue pair, so that nothing moves through it any more; then the
  // connection, which tells the peer.
  if (qp_ != nullptr) {
    const uint32_t qp_num = qp_->qp_num;
    if (const int error = ibv_destroy_qp(qp_); error != 0) {
      RTRS_LOG(err, "{}: {}", Name(), ErrnoError(error, "ibv_destroy_qp"));
    }
    phase_ = Phase::kClosed;
    channel_->RemoveQueuePair(qp_num, this);
    cq_->Forget(this, shard_);
  }
  if (shard_ != nullptr) {
    VerbsCq::Release(shard_, max_send_wr_ + 1 + max_recv_wr_);
  }
}

const char* VerbsQueuePair::PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kIdle:
      return "idle";
    case Phase::kAddress:
      return "resolving the address";
    case Phase::kRoute:
      return "resolving the route";
    case Phase::kRequested:
      return "requested";
    case Phase::kAccepted:
      return "accepted";
    case Phase::kConnected:
      return "connected";
    case Phase::kDraining:
      return "draining";
    case Phase::kLeaving:
      return "leaving";
    case Phase::kDead:
      return "dead";
    case Phase::kClosed:
      return "closed";
  }
  return "unknown";
}

void VerbsQueuePair::Move(Phase to, const absl::Status& why) {
  RTRS_LOG(debug, "{} with {}: {} -> {}{}{}", Name(), peer_.ToString(),
           PhaseName(phase_), PhaseName(to), why.ok() ? "" : ": ",
           why.message());
  phase_ = to;
}

QueuePair::State VerbsQueuePair::state() const {
  switch (phase_) {
    case Phase::kIdle:
      return State::kIdle;
    case Phase::kAddress:
    case Phase::kRoute:
    case Phase::kRequested:
    case Phase::kAccepted:
      return State::kConnecting;
    case Phase::kConnected:
      return State::kEstablished;
    case Phase::kDraining:
    case Phase::kLeaving:
    case Phase::kDead:
      return State::kError;
    case Phase::kClosed:
      return State::kClosed;
  }
  return State::kError;
}

absl::Status VerbsQueuePair::PostSend(absl::Span<const SendWr> list,
                                      Doorbell doorbell) {
  if (phase_ < Phase::kConnected) {
    return absl::FailedPreconditionError("send before the connection is up");
  }
  for (const SendWr& wr : list) RTRS_RETURN_IF_ERROR(sends_.Check(wr));
  if (phase_ != Phase::kConnected) {
    for (const SendWr& wr : list) FlushOne(wr.wr_id, WcOpcode::kSend);
    return absl::OkStatus();
  }
  // The last slot is the marker's.
  if (list.size() + 1 > sends_.slots().free()) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "send queue of ", max_send_wr_, ": ", sends_.slots().used(),
        " in use, ", list.size(), " more do not fit"));
  }
  const bool deferred = doorbell == Doorbell::kDeferred;
  if (deferred && sends_.empty() && !list.empty()) channel_->MarkDirty(this);
  for (size_t i = 0; i < list.size(); ++i) {
    sends_.slots().Post((list[i].flags & kSignaled) != 0);
    sends_.Append(list[i], deferred);
    if (!sends_.full()) continue;
    FlushSends();
    if (phase_ != Phase::kConnected) {
      // The device refused; what it has not seen is flushed here.
      for (const SendWr& wr : list.subspan(i + 1)) {
        FlushOne(wr.wr_id, WcOpcode::kSend);
      }
      return absl::OkStatus();
    }
    if (deferred && i + 1 < list.size()) channel_->MarkDirty(this);
  }
  if (!deferred) FlushSends();
  return absl::OkStatus();
}

void VerbsQueuePair::FlushSends() {
  if (sends_.empty()) return;
  ibv_send_wr* list = sends_.Take();
  ibv_send_wr* bad = nullptr;
  int error = 0;
  if (phase_ == Phase::kConnected || phase_ == Phase::kDraining) {
    error = ibv_post_send(qp_, list, &bad);
    if (error == 0) return;
    Fail(CmEvent::Type::kDisconnected, ErrnoError(error, "ibv_post_send"));
  } else {
    bad = list;  // the queue pair died while the batch waited
  }
  for (; bad != nullptr; bad = bad->next) {
    FlushOne(bad->wr_id, WcOpcode::kSend);
  }
}

absl::Status VerbsQueuePair::PostRecv(absl::Span<const RecvWr> list) {
  if (!alive()) {
    for (const RecvWr& wr : list) FlushOne(wr.wr_id, WcOpcode::kRecv);
    return absl::OkStatus();
  }
  if (list.size() > max_recv_wr_ - receives_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("receive queue of ", max_recv_wr_, ": ", receives_,
                     " in use, ", list.size(), " more do not fit"));
  }
  std::array<ibv_recv_wr, 64> wrs;
  std::array<ibv_sge, 64> sges;
  while (!list.empty()) {
    const size_t count = std::min(list.size(), wrs.size());
    for (size_t i = 0; i < count; ++i) {
      sges[i] = {.addr = reinterpret_cast<uint64_t>(list[i].address),
                 .length = list[i].length,
                 .lkey = list[i].lkey};
      wrs[i] = {.wr_id = list[i].wr_id,
                .next = i + 1 < count ? &wrs[i + 1] : nullptr,
                .sg_list = list[i].length > 0 ? &sges[i] : nullptr,
                .num_sge = list[i].length > 0 ? 1 : 0};
    }
    ibv_recv_wr* bad = nullptr;
    if (const int error = ibv_post_recv(qp_, wrs.data(), &bad); error != 0) {
      return ErrnoError(error, "ibv_post_recv");
    }
    receives_ += static_cast<uint32_t>(count);
    list.remove_prefix(count);
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> VerbsQueuePair::BindWindow(const BindWr& wr) {
  if (phase_ < Phase::kConnected) {
    return absl::FailedPreconditionError("a bind before the connection is up");
  }
  ibv_mw* window = static_cast<VerbsWindow*>(wr.window)->get();
  // In its place behind what waits for the doorbell.
  FlushSends();
  if (phase_ != Phase::kConnected) {
    FlushOne(wr.wr_id, WcOpcode::kSend);
    return window->rkey;
  }
  if (sends_.slots().free() < 2) {  // the last slot is the marker's
    return absl::ResourceExhaustedError(
        absl::StrCat("send queue of ", max_send_wr_, ": no room for a bind"));
  }
  ibv_mw_bind bind{};
  bind.wr_id = wr.wr_id;
  bind.send_flags = (wr.flags & kSignaled) != 0 ? IBV_SEND_SIGNALED : 0;
  bind.bind_info = {.mr = static_cast<const VerbsRegion*>(wr.region)->get(),
                    .addr = reinterpret_cast<uint64_t>(wr.address),
                    .length = wr.length,
                    .mw_access_flags = IBV_ACCESS_REMOTE_WRITE};
  if (const int error = ibv_bind_mw(qp_, window, &bind); error != 0) {
    return ErrnoError(error,
                      absl::StrCat("ibv_bind_mw of ", wr.length, " bytes on ",
                                   channel_->fabric()->device().name));
  }
  sends_.slots().Post((wr.flags & kSignaled) != 0);
  return window->rkey;
}

void VerbsQueuePair::FlushOne(uint64_t wr_id, WcOpcode opcode) {
  WorkCompletion wc;
  wc.wr_id = wr_id;
  wc.qp = this;
  wc.status = WcStatus::kFlushed;
  wc.opcode = opcode;
  cq_->Push(wc);
}

bool VerbsQueuePair::OnCompletion(const ibv_wc& wc) {
  if (wc.wr_id == reinterpret_cast<uint64_t>(this)) {  // the marker
    if (phase_ == Phase::kDraining) Leave();
    return false;
  }
  if (wc.status != IBV_WC_SUCCESS) {
    // A flush before we or the peer ended the connection may be all that tells
    // of an error: rdma_rxe may say no more of a bind that it does again, and
    // that fails then.
    const bool unexpected =
        wc.status == IBV_WC_WR_FLUSH_ERR
            ? phase_ == Phase::kAccepted || phase_ == Phase::kConnected
            : alive();
    if (unexpected) {
      Fail(CmEvent::Type::kDisconnected,
           ErrnoError(ECONNRESET, absl::StrCat(peer_.ToString(), ": ",
                                               ibv_wc_status_str(wc.status))));
    }
    return true;
  }
  if ((wc.opcode & IBV_WC_RECV) == 0) {
    sends_.slots().Complete();
    return true;
  }
  if (receives_ > 0) --receives_;
  // The peer has the reply, or it could not send: as good as its last word.
  if (phase_ == Phase::kAccepted) Established({});
  return true;
}

std::string VerbsQueuePair::Name() const {
  return absl::StrCat(channel_->fabric()->device().name, " queue pair ",
                      qp_ != nullptr ? qp_->qp_num : 0);
}

}  // namespace rtrs::fabric::verbs
