// The connection of a queue pair, from REQ to DREP. roce.md §11.1, §12.
#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/softroce/device_limits.h"
#include "rtrs/fabric/softroce/gid.h"
#include "rtrs/fabric/softroce/listener.h"
#include "rtrs/fabric/softroce/queue_pair.h"

namespace rtrs::softroce {
namespace {

using fabric::CmEvent;

// An unprivileged port, as rdma_cm chooses one; only the peer's logs show it.
constexpr uint16_t kFirstSourcePort = 32768;
constexpr uint16_t kSourcePorts = 28232;

absl::Status CheckPrivateData(absl::Span<const uint8_t> data, size_t most) {
  if (data.size() <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "private data of ", data.size(), " bytes: at most ", most, " fit"));
}

uint8_t MtuCode(uint32_t mtu) {
  uint8_t code = 1;
  while ((128U << code) < mtu) ++code;
  return code;
}

const char* RejectText(RejectReason reason) {
  switch (reason) {
    case RejectReason::kNoResources:
      return "no resources";
    case RejectReason::kTimeout:
      return "timeout";
    case RejectReason::kUnsupported:
      return "unsupported request";
    case RejectReason::kInvalidCommId:
      return "invalid communication id";
    case RejectReason::kInvalidServiceId:
      return "nobody listens on that port";
    case RejectReason::kInvalidTransport:
      return "invalid transport";
    case RejectReason::kStaleConnection:
      return "stale connection";
    case RejectReason::kInvalidGid:
      return "invalid GID: it knows this host by another address";
    case RejectReason::kInvalidMtu:
      return "invalid path MTU";
    case RejectReason::kConsumer:
      return "refused by the server";
    case RejectReason::kDuplicateCommId:
      return "duplicate communication id";
  }
  return "unknown reason";
}

}  // namespace

absl::Status Qp::Connect(const PathSpec& path,
                         absl::Span<const uint8_t> private_data,
                         absl::Duration timeout) {
  RTRS_RETURN_IF_ERROR(CheckPrivateData(private_data, kMaxConsumerRequest));
  if (path.destination.kind != PathEnd::Kind::kIp ||
      path.source.kind == PathEnd::Kind::kGid) {
    return absl::InvalidArgumentError(absl::StrCat(
        "path ", path.ToString(), ": softroce needs IP addresses"));
  }
  MutexLock lock(host_->mutex());
  if (phase_ != Phase::kIdle) {
    return absl::FailedPreconditionError(
        absl::StrCat("connect on a queue pair that is ", PhaseName(phase_)));
  }
  peer_ = path.destination.ip;
  local_ = path.source.ip;
  Move(Phase::kConnecting);
  const absl::Status status = StartConnect(path, private_data, timeout);
  if (!status.ok()) FailConnect(status);
  return absl::OkStatus();
}

absl::Status Qp::StartConnect(const PathSpec& path,
                              absl::Span<const uint8_t> private_data,
                              absl::Duration timeout) {
  RTRS_ASSIGN_OR_RETURN(Engine * engine, host_->EngineFor(local_, peer_));
  UseEngine(engine, peer_);
  mtu_ = engine->PathMtu(peer_);
  const auto source_port = static_cast<uint16_t>(
      kFirstSourcePort + host_->random()->Below(kSourcePorts));
  local_ = engine->local_address();
  local_.set_port(source_port);

  CmReq req;
  session_ = engine->cm()->NewSession(peer_, &req.local_comm_id);
  session_->qp = this;
  session_->qpn = qpn_;
  req.service_id = ServiceId(path.port);
  req.ca_guid = host_->guid();
  req.qpn = qpn_;
  req.starting_psn = psn_;
  req.path_mtu = MtuCode(mtu_);
  req.flow_label = (uint32_t{source_port} * 31 + path.port) & 0xFFFFF;
  req.local_gid = GidOf(engine->local_address());
  req.remote_gid = GidOf(peer_);
  req.source_port = source_port;
  std::copy(private_data.begin(), private_data.end(), req.private_data.begin());
  const absl::Time now = host_->clock()->Now();
  // The low half of a transaction is the comm id, as Linux does it.
  const uint64_t transaction =
      uint64_t{host_->random()->Uint32()} << 32 | req.local_comm_id;
  session_->connection.SendReq(req, transaction, now, now + timeout);
  engine->cm()->Changed(session_);
  return absl::OkStatus();
}

void Qp::UseEngine(Engine* engine, const SocketAddress& peer) {
  engine_ = engine;
  SocketAddress to = peer;
  to.set_port(kUdpPort);
  flow_.emplace(engine->local_address(), to);
  flow_->trains = engine->trains();
  ids_ = engine->Join(peer);
  qpn_ = engine->Reserve(this);
  psn_ = host_->random()->Uint32() & kPsnMask;
}

void Qp::StartTransfer(uint32_t dest_qpn, uint32_t send_psn,
                       uint32_t expected_psn, uint32_t mtu,
                       uint8_t rnr_retry_count) {
  dest_qpn_ = dest_qpn;
  mtu_ = mtu;
  RequesterOptions options;
  options.dest_qpn = dest_qpn;
  options.first_psn = send_psn;
  options.mtu = mtu;
  options.window = engine_->Window(mtu);
  options.rnr_retry_count = rnr_retry_count;
  options.patience = kPatience;
  requester_.emplace(options);
  responder_.emplace(expected_psn, mtu, this);
  for (const fabric::RecvWr& wr : early_receives_) responder_->PostRecv(wr);
  early_receives_.clear();
}

absl::Status Qp::Accept(std::unique_ptr<fabric::ConnectRequest> request,
                        absl::Span<const uint8_t> private_data) {
  RTRS_RETURN_IF_ERROR(CheckPrivateData(private_data, kRepPrivateSize));
  auto* ours = static_cast<RoceConnectRequest*>(request.get());
  MutexLock lock(host_->mutex());
  if (phase_ != Phase::kIdle) {
    return absl::FailedPreconditionError(
        absl::StrCat("accept on a queue pair that is ", PhaseName(phase_)));
  }
  local_ = ours->local_address();
  peer_ = ours->peer_address();
  CmSession* session = ours->TakeSession();
  if (session == nullptr) {
    Lose(ErrnoError(ECONNRESET, absl::StrCat(peer_.ToString(), " gave up")));
    return absl::OkStatus();
  }
  session_ = session;
  UseEngine(host_->Find(local_), peer_);
  session->qp = this;
  session->qpn = qpn_;
  const CmReq& req = session->connection.req();
  StartTransfer(req.qpn, req.starting_psn, psn_, 128U << req.path_mtu,
                req.rnr_retry_count);
  Move(Phase::kAccepting);
  CmRep rep;
  rep.local_comm_id = session->connection.local_comm_id();
  rep.remote_comm_id = session->connection.remote_comm_id();
  rep.ca_guid = host_->guid();
  rep.qpn = qpn_;
  rep.starting_psn = psn_;
  std::copy(private_data.begin(), private_data.end(), rep.private_data.begin());
  session->connection.Accept(rep, host_->clock()->Now());
  engine_->cm()->Changed(session);
  return absl::OkStatus();
}

void Qp::OnCm(CmOutcome outcome) {
  const Connection& connection = session_->connection;
  switch (outcome) {
    case CmOutcome::kNone:
      return;
    case CmOutcome::kReplied: {
      if (phase_ != Phase::kConnecting) return;
      const CmRep& rep = connection.rep();
      StartTransfer(rep.qpn, rep.starting_psn, psn_, mtu_, rep.rnr_retry_count);
      Move(Phase::kOperational);
      RaiseEstablished(rep.private_data);
      return;
    }
    case CmOutcome::kEstablished:
      if (phase_ != Phase::kAccepting) return;
      Move(Phase::kOperational);
      RaiseEstablished({});
      return;
    case CmOutcome::kRejected:
      if (phase_ == Phase::kConnecting) {
        OnRejected(connection.rej());
      } else {
        OnLeft(outcome);
      }
      return;
    case CmOutcome::kTimedOut:
    case CmOutcome::kDisconnected:
      OnLeft(outcome);
      return;
  }
}

void Qp::OnLeft(CmOutcome outcome) {
  switch (phase_) {
    case Phase::kConnecting:
      FailConnect(ErrnoError(
          ETIMEDOUT,
          absl::StrCat("connect to ", peer_.ToString(),
                       " over RoCE: no answer on UDP port 4791 (is a server "
                       "there, does a firewall drop it?)")));
      return;
    case Phase::kAccepting:
      Lose(outcome == CmOutcome::kTimedOut
               ? ErrnoError(ETIMEDOUT, absl::StrCat(peer_.ToString(),
                                                    " did not say that it is "
                                                    "ready"))
               : ErrnoError(ECONNRESET,
                            absl::StrCat(peer_.ToString(), " gave up")));
      return;
    case Phase::kOperational:
    case Phase::kDraining:
    case Phase::kLeaving:
      Lose(ErrnoError(ESHUTDOWN, "disconnected"));
      return;
    case Phase::kIdle:
    case Phase::kError:
    case Phase::kClosed:
      return;
  }
}

void Qp::OnRejected(const CmRej& rej) {
  const std::string what = absl::StrCat(
      peer_.ToString(), " rejected the connection: ", RejectText(rej.reason),
      " (", static_cast<int>(rej.reason), ")");
  if (rej.reason == RejectReason::kConsumer) {
    Fail(CmEvent::Type::kRejected, ErrnoError(ECONNREFUSED, what),
         {rej.private_data.begin(), rej.private_data.end()});
    return;
  }
  FailConnect(ErrnoError(
      rej.reason == RejectReason::kInvalidServiceId ? ECONNREFUSED : EPROTO,
      what));
}

void Qp::OnUnreachable(int error) {
  if (phase_ != Phase::kConnecting) return;
  const absl::Status status = ErrnoError(
      error, absl::StrCat("connect to ", peer_.ToString(),
                          " over RoCE: UDP port 4791 is not reached"));
  session_->connection.Disconnect(host_->clock()->Now());
  engine_->cm()->Changed(session_);
  FailConnect(status);
}

void Qp::Disconnect() {
  MutexLock lock(host_->mutex());
  const absl::Time now = host_->clock()->Now();
  switch (phase_) {
    case Phase::kIdle:
      Move(Phase::kClosed);
      return;
    case Phase::kError:
      if (session_ != nullptr) {
        session_->connection.Disconnect(now);
        engine_->cm()->Changed(session_);
      }
      Move(Phase::kClosed);
      return;
    case Phase::kConnecting:
    case Phase::kAccepting:
      session_->connection.Disconnect(now);
      engine_->cm()->Changed(session_);
      Lose(ErrnoError(ESHUTDOWN, "disconnected while connecting"));
      Move(Phase::kClosed);
      return;
    case Phase::kOperational:
      break;
    case Phase::kDraining:
    case Phase::kLeaving:
    case Phase::kClosed:
      return;
  }
  Pump(now);
  Move(Phase::kDraining);
  drain_until_ = now + kDrainTimeout;
  Settle(now);
  host_->Send(/*acks=*/true);
}

void Qp::TryLeave(absl::Time now) {
  if (!requester_->idle() && now < drain_until_) return;
  // What came and was placed is acknowledged, so that the peer can leave too.
  engine_->Send(/*acks=*/true);
  FlushQueues();
  Move(Phase::kLeaving);
  session_->connection.Disconnect(now);
  engine_->cm()->Changed(session_);
}

void Qp::RaiseEstablished(absl::Span<const uint8_t> private_data) {
  RTRS_LOG(debug, "softroce: {} to {}: established, path MTU {}, window {}",
           local_.ToString(), peer_.ToString(), mtu_, engine_->Window(mtu_));
  CmEvent event;
  event.type = CmEvent::Type::kEstablished;
  event.qp = this;
  event.private_data.assign(private_data.begin(), private_data.end());
  channel_->PushEvent(std::move(event));
}

void Qp::FailConnect(const absl::Status& status) {
  Fail(CmEvent::Type::kConnectError, status);
}

void Qp::Fail(CmEvent::Type type, const absl::Status& status,
              std::vector<uint8_t> private_data) {
  const bool leaving = phase_ == Phase::kDraining || phase_ == Phase::kLeaving;
  Move(leaving ? Phase::kClosed : Phase::kError);
  FlushQueues();
  if (leaving && session_ != nullptr) {
    session_->connection.Disconnect(host_->clock()->Now());
    engine_->cm()->Changed(session_);
  }
  CmEvent event;
  event.type = type;
  event.qp = this;
  event.status = status;
  event.private_data = std::move(private_data);
  channel_->PushEvent(std::move(event));
}

}  // namespace rtrs::softroce
