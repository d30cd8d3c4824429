#include "rtrs/fabric/softroce/connection.h"

#include <algorithm>
#include <variant>

#include "rtrs/base/log.h"

namespace rtrs::softroce {

const char* CmStateName(CmState state) {
  switch (state) {
    case CmState::kIdle:
      return "idle";
    case CmState::kReqSent:
      return "REQ sent";
    case CmState::kMraReceived:
      return "MRA received";
    case CmState::kReqReceived:
      return "REQ received";
    case CmState::kRepSent:
      return "REP sent";
    case CmState::kEstablished:
      return "established";
    case CmState::kDreqSent:
      return "DREQ sent";
    case CmState::kTimeWait:
      return "time-wait";
    case CmState::kClosed:
      return "closed";
  }
  return "unknown";
}

void Connection::SendReq(const CmReq& req, uint64_t transaction_id,
                         absl::Time now, absl::Time deadline) {
  req_ = req;
  local_id_ = req.local_comm_id;
  transaction_id_ = transaction_id;
  give_up_ = deadline;
  Move(CmState::kReqSent);
  SendAgain(req, transaction_id, now);
}

void Connection::OnReq(const CmReq& req, uint64_t transaction_id,
                       uint32_t local_comm_id) {
  req_ = req;
  local_id_ = local_comm_id;
  remote_id_ = req.local_comm_id;
  remote_qpn_ = req.qpn;
  transaction_id_ = transaction_id;
  Move(CmState::kReqReceived);
}

void Connection::Accept(const CmRep& rep, absl::Time now) {
  rep_ = rep;
  Move(CmState::kRepSent);
  SendAgain(rep, transaction_id_, now);
}

void Connection::Reject(RejectReason reason,
                        absl::Span<const uint8_t> private_data,
                        absl::Time now) {
  CmRej rej;
  rej.local_comm_id = local_id_;
  rej.remote_comm_id = remote_id_;
  rej.reason = reason;
  std::copy_n(private_data.begin(),
              std::min(private_data.size(), rej.private_data.size()),
              rej.private_data.begin());
  Send(rej, transaction_id_);
  EnterTimeWait(now);
}

CmOutcome Connection::Disconnect(absl::Time now) {
  switch (state_) {
    case CmState::kReqSent:
    case CmState::kMraReceived: {
      // The peer may hold a half-open connection: tell it that we gave up.
      CmRej rej;
      rej.local_comm_id = local_id_;
      rej.message = 0;
      rej.reason = RejectReason::kTimeout;
      Send(rej, transaction_id_);
      EnterTimeWait(now);
      return CmOutcome::kDisconnected;
    }
    case CmState::kReqReceived:
      Reject(RejectReason::kNoResources, {}, now);
      return CmOutcome::kDisconnected;
    case CmState::kRepSent:
    case CmState::kEstablished:
      Move(CmState::kDreqSent);
      give_up_ = absl::InfiniteFuture();
      // A DREQ begins a transaction of its own.
      SendAgain(CmDreq{local_id_, remote_id_, remote_qpn_},
                transaction_id_ + (uint64_t{1} << 32), now);
      return CmOutcome::kNone;
    case CmState::kIdle:
      Move(CmState::kClosed);
      return CmOutcome::kNone;
    case CmState::kDreqSent:
    case CmState::kTimeWait:
    case CmState::kClosed:
      return CmOutcome::kNone;
  }
  return CmOutcome::kNone;
}

CmOutcome Connection::OnMessage(const CmDatagram& datagram, absl::Time now) {
  if (const auto* rep = std::get_if<CmRep>(&datagram.message)) {
    return OnRep(*rep);
  }
  if (const auto* rej = std::get_if<CmRej>(&datagram.message)) {
    return OnRej(*rej, now);
  }
  if (std::holds_alternative<CmDreq>(datagram.message)) {
    return OnDreq(datagram, now);
  }
  if (std::holds_alternative<CmReq>(datagram.message)) {
    // A duplicate: what we answered got lost, or is not decided yet.
    if (last_.has_value() &&
        (state_ == CmState::kRepSent || state_ == CmState::kTimeWait)) {
      output_->SendCm(*last_);
    } else if (state_ == CmState::kReqReceived) {
      output_->SendCm(
          {transaction_id_, CmMra{local_id_, remote_id_, 0, kServiceTimeout}});
    }
    return CmOutcome::kNone;
  }
  if (std::holds_alternative<CmRtu>(datagram.message)) return OnTraffic();
  if (const auto* mra = std::get_if<CmMra>(&datagram.message)) {
    if (state_ == CmState::kReqSent) {
      Move(CmState::kMraReceived);
      deadline_ = std::min(
          give_up_, now + absl::Nanoseconds(4096) *
                              static_cast<double>(
                                  uint64_t{1} << (mra->service_timeout & 31)));
    }
    return CmOutcome::kNone;
  }
  // DREP.
  if (state_ != CmState::kDreqSent) return CmOutcome::kNone;
  EnterTimeWait(now);
  return CmOutcome::kDisconnected;
}

CmOutcome Connection::OnRep(const CmRep& rep) {
  if (state_ == CmState::kEstablished && rep.local_comm_id == remote_id_) {
    output_->SendCm(*last_);  // our RTU got lost
    return CmOutcome::kNone;
  }
  if (state_ != CmState::kReqSent && state_ != CmState::kMraReceived) {
    if (state_ == CmState::kTimeWait && last_.has_value()) {
      output_->SendCm(*last_);
    }
    return CmOutcome::kNone;
  }
  rep_ = rep;
  remote_id_ = rep.local_comm_id;
  remote_qpn_ = rep.qpn;
  deadline_ = absl::InfiniteFuture();
  Move(CmState::kEstablished);
  Send(CmRtu{local_id_, remote_id_}, transaction_id_);
  return CmOutcome::kReplied;
}

CmOutcome Connection::OnRej(const CmRej& rej, absl::Time now) {
  switch (state_) {
    case CmState::kReqSent:
    case CmState::kMraReceived:
      rej_ = rej;
      EnterTimeWait(now);
      last_.reset();  // there is nothing to answer any more
      return CmOutcome::kRejected;
    case CmState::kReqReceived:
    case CmState::kRepSent:
    case CmState::kEstablished:
    case CmState::kDreqSent:
      EnterTimeWait(now);
      return CmOutcome::kDisconnected;
    case CmState::kIdle:
    case CmState::kTimeWait:
    case CmState::kClosed:
      return CmOutcome::kNone;
  }
  return CmOutcome::kNone;
}

CmOutcome Connection::OnDreq(const CmDatagram& datagram, absl::Time now) {
  // Both sides may leave at once; each answers the other.
  Send(CmDrep{local_id_, remote_id_}, datagram.transaction_id);
  switch (state_) {
    case CmState::kRepSent:
    case CmState::kEstablished:
    case CmState::kDreqSent:
      EnterTimeWait(now);
      return CmOutcome::kDisconnected;
    default:
      return CmOutcome::kNone;
  }
}

CmOutcome Connection::OnTraffic() {
  if (state_ != CmState::kRepSent) return CmOutcome::kNone;
  deadline_ = absl::InfiniteFuture();
  Move(CmState::kEstablished);
  return CmOutcome::kEstablished;
}

CmOutcome Connection::OnTimer(absl::Time now) {
  if (now < deadline_) return CmOutcome::kNone;
  switch (state_) {
    case CmState::kReqSent:
    case CmState::kMraReceived:
      if (now >= give_up_) {
        Disconnect(now);
        return CmOutcome::kTimedOut;
      }
      Move(CmState::kReqSent);
      SendAgain(req_, transaction_id_, now);
      return CmOutcome::kNone;
    case CmState::kRepSent:
      if (sends_ >= kMaxReps) {
        EnterTimeWait(now);
        return CmOutcome::kTimedOut;
      }
      SendAgain(rep_, transaction_id_, now);
      return CmOutcome::kNone;
    case CmState::kDreqSent:
      if (sends_ >= kMaxDreqs) {
        EnterTimeWait(now);
        return CmOutcome::kDisconnected;
      }
      SendAgain(last_->message, last_->transaction_id, now);
      return CmOutcome::kNone;
    case CmState::kTimeWait:
      deadline_ = absl::InfiniteFuture();
      Move(CmState::kClosed);
      return CmOutcome::kNone;
    case CmState::kIdle:
    case CmState::kReqReceived:
    case CmState::kEstablished:
    case CmState::kClosed:
      deadline_ = absl::InfiniteFuture();
      return CmOutcome::kNone;
  }
  return CmOutcome::kNone;
}

void Connection::Move(CmState state) {
  if (state == state_) return;
  RTRS_LOG(trace, "cm {:#x}: {} -> {}", local_id_, CmStateName(state_),
           CmStateName(state));
  state_ = state;
  resend_ = kFirstResend;
  sends_ = 0;
}

void Connection::Send(const CmMessage& message, uint64_t transaction_id) {
  last_ = CmDatagram{transaction_id, message};
  output_->SendCm(*last_);
}

void Connection::SendAgain(const CmMessage& message, uint64_t transaction_id,
                           absl::Time now) {
  ++sends_;
  Send(message, transaction_id);
  deadline_ = std::min(give_up_, now + resend_);
  resend_ = std::min(resend_ * 2, kMaxResend);
}

void Connection::EnterTimeWait(absl::Time now) {
  Move(CmState::kTimeWait);
  deadline_ = now + kTimeWaitSpan;
}

}  // namespace rtrs::softroce
