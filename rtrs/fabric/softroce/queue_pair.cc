// Data transfer of a queue pair; its connection is in queue_pair_cm.cc.
#include "rtrs/fabric/softroce/queue_pair.h"

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/protection_domain.h"
#include "rtrs/fabric/softroce/device_limits.h"

namespace rtrs::softroce {

using fabric::MrCheck;
using fabric::MrPin;
using fabric::WcStatus;

Qp::Qp(Channel* channel, const fabric::QueuePairInit& init)
    : channel_(channel),
      host_(channel->host()),
      regions_(channel->regions()),
      cq_(static_cast<RoceCq*>(init.cq)),
      pd_(static_cast<fabric::Pd*>(init.pd)->id()),
      sends_{regions_,         pd_,
             init.max_send_wr, std::max(init.max_send_sge, 1U),
             init.max_inline,  kDeviceLimits.max_message_size},
      receives_{regions_, pd_, init.max_recv_wr} {
  context_ = init.context;
}

Qp::~Qp() {
  MutexLock lock(host_->mutex());
  if (session_ != nullptr) {
    engine_->cm()->Leave(session_);
  } else if (qpn_ != 0) {
    engine_->Release(qpn_);
  }
  if (engine_ != nullptr) {
    engine_->Forget(this);
    engine_->Part(peer_);
  }
  channel_->Forget(this);
  cq_->Forget(this);
}

const char* Qp::PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kIdle:
      return "idle";
    case Phase::kConnecting:
      return "connecting";
    case Phase::kAccepting:
      return "accepting";
    case Phase::kOperational:
      return "operational";
    case Phase::kDraining:
      return "draining";
    case Phase::kLeaving:
      return "leaving";
    case Phase::kError:
      return "error";
    case Phase::kClosed:
      return "closed";
  }
  return "?";
}

void Qp::Move(Phase to) {
  if (phase_ == to) return;
  RTRS_LOG(debug, "softroce: queue pair {:#x} {} to {}: {} -> {}", qpn_,
           local_.ToString(), peer_.ToString(), PhaseName(phase_),
           PhaseName(to));
  phase_ = to;
}

fabric::QueuePair::State Qp::state() const {
  MutexLock lock(host_->mutex());
  switch (phase_) {
    case Phase::kIdle:
      return State::kIdle;
    case Phase::kConnecting:
    case Phase::kAccepting:
      return State::kConnecting;
    case Phase::kOperational:
      return State::kEstablished;
    case Phase::kDraining:
    case Phase::kLeaving:
    case Phase::kError:
      return State::kError;
    case Phase::kClosed:
      return State::kClosed;
  }
  return State::kError;
}

absl::Status Qp::PostSend(absl::Span<const fabric::SendWr> list,
                          fabric::Doorbell doorbell) {
  MutexLock lock(host_->mutex());
  if (phase_ == Phase::kIdle || phase_ == Phase::kConnecting ||
      phase_ == Phase::kAccepting) {
    return absl::FailedPreconditionError(
        absl::StrCat("send on a queue pair that is ", PhaseName(phase_)));
  }
  RTRS_RETURN_IF_ERROR(fabric::CheckSends(sends_, send_slots_, list));
  send_slots_ += static_cast<uint32_t>(list.size());
  EnsureRequester();
  // While it drains, nothing more joins what was posted before.
  if (phase_ == Phase::kDraining) {
    for (const fabric::SendWr& wr : list) {
      fabric::WorkCompletion wc;
      wc.wr_id = wr.wr_id;
      wc.qp = this;
      wc.status = WcStatus::kFlushed;
      overflowed_ |= !cq_->Push(wc, &send_slots_, 1);
    }
    return absl::OkStatus();
  }
  for (const fabric::SendWr& wr : list) requester_->Post(wr);
  if (phase_ != Phase::kOperational) {
    MoveCompletions();
  } else if (doorbell == fabric::Doorbell::kNow) {
    FlushSends(host_->clock()->Now());
    host_->Send(/*acks=*/false);
  } else if (!dirty_) {
    dirty_ = true;
    channel_->AddDirty(this);
  }
  return absl::OkStatus();
}

absl::Status Qp::PostRecv(absl::Span<const fabric::RecvWr> list) {
  MutexLock lock(host_->mutex());
  RTRS_RETURN_IF_ERROR(fabric::CheckRecvs(receives_, recv_slots_, list));
  recv_slots_ += static_cast<uint32_t>(list.size());
  for (const fabric::RecvWr& wr : list) {
    if (responder_.has_value()) {
      responder_->PostRecv(wr);
    } else {
      early_receives_.push_back(wr);
    }
  }
  if (phase_ == Phase::kLeaving || phase_ == Phase::kError ||
      phase_ == Phase::kClosed) {
    FlushQueues();
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> Qp::BindWindow(const fabric::BindWr& wr) {
  MutexLock lock(host_->mutex());
  if (phase_ == Phase::kIdle || phase_ == Phase::kConnecting ||
      phase_ == Phase::kAccepting) {
    return absl::FailedPreconditionError(
        absl::StrCat("bind on a queue pair that is ", PhaseName(phase_)));
  }
  if (send_slots_ == sends_.max_wr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("send queue full: all ", sends_.max_wr, " in use"));
  }
  auto* const window = static_cast<fabric::Window*>(wr.window);
  RTRS_RETURN_IF_ERROR(window->CheckBind(wr, pd_));
  // The table changes at once; only slot and completion take their turn.
  RTRS_ASSIGN_OR_RETURN(const uint32_t rkey,
                        window->Bind(wr.address, wr.length, pd_));
  ++send_slots_;
  EnsureRequester();
  requester_->PostLocal(wr.wr_id, wr.flags);
  MoveCompletions();
  return rkey;
}

void Qp::EnsureRequester() {
  if (requester_.has_value()) return;
  // It never came to a connection: a requester that only flushes.
  requester_.emplace(RequesterOptions());
  requester_->Flush();
}

void Qp::FlushSends(absl::Time now) {
  dirty_ = false;
  if (phase_ != Phase::kOperational) return;
  Pump(now);
  Settle(now);
}

bool Qp::OnPacket(const SocketAddress& from, absl::Span<const uint8_t> datagram,
                  uint32_t place, const Packet& packet, absl::Time now) {
  if (!from.SameHost(peer_)) {
    engine_->Count(Drop::kWrongSource, from);
    return false;
  }
  if (!connected() || !responder_.has_value()) {
    engine_->Count(Drop::kUnexpected, from);
    return false;
  }
  if (!seed_in_.has_value() || from.port() != seed_port_) {
    seed_port_ = from.port();
    seed_in_.emplace(from, engine_->local_address());
  }
  const uint16_t expected = ids_->Expected(place);
  const std::optional<uint16_t> id = CheckIcrc(*seed_in_, datagram, expected);
  if (!id.has_value() ||
      (seed_in_->is_ipv4() && !ids_->Accept(*id, *id != expected, now))) {
    engine_->Count(Drop::kDamaged, from);
    return false;
  }
  if (packet.info->Has(OpcodeInfo::kAeth)) {
    OnAcknowledge(packet, now);
  } else {
    responder_->OnPacket(packet);
    // The peer would not send if it had not got the REP.
    if (phase_ == Phase::kAccepting) {
      const CmOutcome outcome = session_->connection.OnTraffic();
      if (outcome != CmOutcome::kNone) OnCm(outcome);
    }
  }
  return !std::exchange(touched_, true);
}

void Qp::OnAcknowledge(const Packet& packet, absl::Time now) {
  const uint8_t syndrome = packet.aeth.syndrome;
  if ((syndrome & 0xE0) == 0) {
    requester_->OnAck(packet.bth.psn, now);
    if (train_psn_.has_value() &&
        ComparePsn(packet.bth.psn, *train_psn_) >= 0) {
      // Nothing was sent again meanwhile, so the train arrived as such.
      if (requester_->stats().timeouts == timeouts_seen_) trains_proven_ = true;
      train_psn_.reset();
    }
  } else {
    requester_->OnNak(syndrome, packet.bth.psn, now);
  }
}

void Qp::AfterPackets(absl::Time now) {
  touched_ = false;
  // What is posted and waits for Flush goes then, all with one call.
  if ((phase_ == Phase::kOperational && !dirty_) ||
      phase_ == Phase::kDraining) {
    Pump(now);
  }
  if (!owing_ && responder_.has_value() && responder_->owes_ack()) {
    owing_ = true;
    engine_->AddAck(this);
  }
  Settle(now);
}

void Qp::OnTimer(absl::Time now) {
  if (connected() && requester_.has_value()) {
    requester_->OnTimer(now);
    JudgeTrains();
    if (phase_ != Phase::kAccepting) Pump(now);
  }
  Settle(now);
}

void Qp::Settle(absl::Time now) {
  MoveCompletions();
  if (!connected() || !requester_.has_value()) return;
  if (overflowed_) {
    return Lose(ErrnoError(ENOBUFS, "completion queue overflow"));
  }
  if (requester_->failed()) {
    return Lose(ErrnoError(
        EIO, absl::StrCat("sending to ", peer_.ToString(),
                          " failed: ", WcStatusName(requester_->failure()))));
  }
  if (responder_->failed()) {
    return Lose(ErrnoError(
        EPROTO, absl::StrCat("refused what ", peer_.ToString(), " sent")));
  }
  if (phase_ == Phase::kDraining) TryLeave(now);
  if (connected()) {
    channel_->SetTimer(this,
                       std::min(requester_->NextDeadline(), drain_until_));
  }
}

void Qp::MoveCompletions() {
  if (requester_.has_value()) {
    SendCompletion done;
    while (requester_->NextCompletion(&done)) {
      if (!done.deliver) {
        ++unsignaled_;
        continue;
      }
      fabric::WorkCompletion wc;
      wc.wr_id = done.wr_id;
      wc.qp = this;
      wc.status = done.status;
      wc.opcode = done.opcode;
      const uint32_t freed = 1 + std::exchange(unsignaled_, 0);
      if (!cq_->Push(wc, &send_slots_, freed)) {
        send_slots_ -= freed;
        overflowed_ = true;
      }
    }
  }
  if (responder_.has_value()) {
    ReceiveCompletion done;
    while (responder_->NextCompletion(&done)) {
      done.wc.qp = this;
      if (!cq_->Push(done.wc, &recv_slots_, 1)) {
        --recv_slots_;
        overflowed_ = true;
      }
    }
  }
}

void Qp::FlushQueues() {
  if (requester_.has_value()) requester_->Flush();
  if (!responder_.has_value()) {
    responder_.emplace(0, 0, this);
    for (const fabric::RecvWr& wr : early_receives_) responder_->PostRecv(wr);
    early_receives_.clear();
  }
  responder_->Flush();
  MoveCompletions();
}

bool Qp::MayWrite(uint32_t rkey, uint64_t address, uint64_t length) {
  return regions_->Check(rkey, pd_, address, length, fabric::kRemoteWrite) ==
         MrCheck::kOk;
}

bool Qp::Write(uint32_t rkey, uint64_t address,
               absl::Span<const uint8_t> data) {
  MrPin pin;
  if (regions_->Pin(rkey, pd_, address, data.size(), fabric::kRemoteWrite,
                    &pin) != MrCheck::kOk) {
    return false;
  }
  std::memcpy(reinterpret_cast<void*>(address), data.data(), data.size());
  return true;
}

bool Qp::WriteReceive(uint32_t lkey, uint8_t* address,
                      absl::Span<const uint8_t> data) {
  MrPin pin;
  if (regions_->Pin(lkey, pd_, reinterpret_cast<uint64_t>(address), data.size(),
                    fabric::kLocalWrite, &pin) != MrCheck::kOk) {
    return false;
  }
  std::memcpy(address, data.data(), data.size());
  return true;
}

bool Qp::Invalidate(uint32_t rkey) {
  return regions_->InvalidateRemote(rkey, pd_) == MrCheck::kOk;
}

}  // namespace rtrs::softroce
