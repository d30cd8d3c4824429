#include "rtrs/fabric/softroce/cm_agent.h"

#include <errno.h>

#include <algorithm>
#include <variant>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/fabric/softroce/engine.h"
#include "rtrs/fabric/softroce/gid.h"
#include "rtrs/fabric/softroce/listener.h"
#include "rtrs/fabric/softroce/queue_pair.h"

namespace rtrs::softroce {
namespace {

constexpr absl::Duration kLogInterval = absl::Seconds(5);
constexpr uint64_t kPortOfServiceId = 0xFFFF;

SocketAddress WithRocePort(SocketAddress address) {
  address.set_port(kUdpPort);
  return address;
}

// The comm id of the receiver in a message that is not a REQ, and that of the
// sender.
struct CommIds {
  uint32_t receiver = 0;
  uint32_t sender = 0;
};
CommIds CommIdsOf(const CmMessage& message) {
  return std::visit(
      [](const auto& m) -> CommIds {
        if constexpr (std::is_same_v<std::decay_t<decltype(m)>, CmReq>) {
          return {0, m.local_comm_id};
        } else {
          return {m.remote_comm_id, m.local_comm_id};
        }
      },
      message);
}

uint32_t MtuBytes(uint8_t code) { return 128U << code; }

}  // namespace

CmSession::CmSession(CmAgent* agent, const SocketAddress& peer)
    : connection(this),
      agent_(agent),
      flow_(agent->engine_->local_address(), WithRocePort(peer)) {}

const SocketAddress& CmSession::local_address() const {
  return agent_->engine_->local_address();
}

void CmSession::SendCm(const CmDatagram& datagram) {
  agent_->SendTo(flow_, datagram);
}

CmAgent::CmAgent(Engine* engine) : engine_(engine) {}

CmAgent::~CmAgent() = default;

CmSession* CmAgent::NewSession(const SocketAddress& peer, uint32_t* comm_id) {
  for (;;) {
    *comm_id = engine_->host()->random()->Uint32();
    if (*comm_id == 0) continue;
    auto [at, fresh] = sessions_.try_emplace(*comm_id);
    if (!fresh) continue;
    at->second = std::make_unique<CmSession>(this, peer);
    return at->second.get();
  }
}

CmSession* CmAgent::Find(uint32_t comm_id) {
  const auto found = sessions_.find(comm_id);
  return found == sessions_.end() ? nullptr : found->second.get();
}

void CmAgent::Changed(CmSession* session) {
  if (session->pending_ &&
      session->connection.state() != CmState::kReqReceived) {
    session->pending_ = false;
    --pending_;
  }
  deadline_ = std::min(deadline_, session->connection.NextDeadline());
}

void CmAgent::Leave(CmSession* session) {
  session->qp = nullptr;
  if (session->qpn != 0) engine_->Silence(session->qpn);
  session->connection.Disconnect(engine_->host()->clock()->Now());
  // Closed already: the next OnTimer takes it away.
  if (session->connection.state() == CmState::kClosed) {
    deadline_ = absl::InfinitePast();
  }
  Changed(session);
}

absl::Status CmAgent::AddListener(uint16_t port, RoceListener* listener) {
  if (listeners_.try_emplace(port, listener).second) return absl::OkStatus();
  return ErrnoError(EADDRINUSE,
                    absl::StrCat("RoCE port ", port, " of ",
                                 engine_->local_address().HostString(),
                                 " has a listener in this process already"));
}

void CmAgent::RemoveListener(uint16_t port) { listeners_.erase(port); }

void CmAgent::SendTo(const Flow& flow, const CmDatagram& datagram) {
  Bth bth;
  bth.opcode = static_cast<uint8_t>(Opcode::kUdSendOnly);
  bth.dest_qpn = kGsiQpn;
  bth.psn = psn_;
  psn_ = AddPsn(psn_, 1);
  uint8_t headers[kBthSize + kDethSize];
  EncodeDeth({kGsiQkey, kGsiQpn}, EncodeBth(bth, headers));
  const Mad mad = EncodeCm(datagram);
  const fabric::Sge piece = {mad.data(), kMadSize, 0};
  TransmitBatch* batch = engine_->batch();
  // Alone: `mad` and perhaps `flow` are gone soon.
  engine_->Send(false);
  batch->Add(flow, headers, {&piece, 1}, kMadSize);
  engine_->Send(false);
}

CmSession* CmAgent::SessionOf(const SocketAddress& from,
                              const CmMessage& message) {
  const CommIds ids = CommIdsOf(message);
  CmSession* session = Find(ids.receiver);
  if (session == nullptr && ids.receiver == 0) {
    // A peer that gave up before it heard our id.
    const auto found = by_peer_.find({from.HostString(), ids.sender});
    if (found != by_peer_.end()) session = Find(found->second);
  }
  // Comm ids are secrets of the two, but not more than that.
  if (session == nullptr || !session->peer().SameHost(from)) return nullptr;
  return session;
}

bool CmAgent::OnDatagram(const SocketAddress& from,
                         absl::Span<const uint8_t> mad, absl::Time now) {
  const absl::StatusOr<CmDatagram> datagram = DecodeCm(mad);
  if (!datagram.ok()) {
    RTRS_LOG(debug, "softroce: from {}: {}", from.ToString(),
             datagram.status());
    return false;
  }
  if (std::holds_alternative<CmReq>(datagram->message)) {
    OnReq(from, *datagram, now);
    return true;
  }
  CmSession* session = SessionOf(from, datagram->message);
  if (session == nullptr) {
    AnswerStray(from, *datagram);
    return true;
  }
  Handle(session, session->connection.OnMessage(*datagram, now));
  return true;
}

void CmAgent::AnswerStray(const SocketAddress& from,
                          const CmDatagram& datagram) {
  const Flow flow(engine_->local_address(), WithRocePort(from));
  if (const auto* dreq = std::get_if<CmDreq>(&datagram.message)) {
    // Of a connection that is over here: let the peer be through with it.
    SendTo(flow, {datagram.transaction_id,
                  CmDrep{dreq->remote_comm_id, dreq->local_comm_id}});
  } else if (const auto* rep = std::get_if<CmRep>(&datagram.message)) {
    CmRej rej;
    rej.local_comm_id = rep->remote_comm_id;
    rej.remote_comm_id = rep->local_comm_id;
    rej.message = 1;
    rej.reason = RejectReason::kInvalidCommId;
    SendTo(flow, {datagram.transaction_id, rej});
  }
}

void CmAgent::OnReq(const SocketAddress& from, const CmDatagram& datagram,
                    absl::Time now) {
  const auto& req = std::get<CmReq>(datagram.message);
  const PeerKey key{from.HostString(), req.local_comm_id};
  if (const auto found = by_peer_.find(key); found != by_peer_.end()) {
    CmSession* session = Find(found->second);
    const CmReq& old = session->connection.req();
    if (old.qpn == req.qpn && old.ca_guid == req.ca_guid) {
      Handle(session, session->connection.OnMessage(datagram, now));
      return;
    }
    by_peer_.erase(found);  // a new process, the same number by chance
  }
  CmRej rej;
  rej.remote_comm_id = req.local_comm_id;
  const auto listener =
      listeners_.find(static_cast<uint16_t>(req.service_id & kPortOfServiceId));
  if (listener == listeners_.end() ||
      req.service_id != ServiceId(listener->first)) {
    rej.reason = RejectReason::kInvalidServiceId;
  } else if (req.remote_gid != GidOf(engine_->local_address()) ||
             req.local_gid != GidOf(from)) {
    rej.reason = RejectReason::kInvalidGid;
  } else if (MtuBytes(req.path_mtu) > engine_->PathMtu(from)) {
    rej.reason = RejectReason::kInvalidMtu;
  } else if (pending_ >= kMaxPending || sessions_.size() >= kMaxSessions) {
    RTRS_LOG_EVERY(warn, kLogInterval,
                   "softroce: {}: too many connections in set-up, not "
                   "answering {}",
                   engine_->local_address().ToString(), from.ToString());
    return;  // it will ask again
  } else {
    uint32_t comm_id = 0;
    CmSession* session = NewSession(from, &comm_id);
    session->pending_ = true;
    ++pending_;
    by_peer_[key] = comm_id;
    session->connection.OnReq(req, datagram.transaction_id, comm_id);
    listener->second->OnRequest(*session);
    return;
  }
  RTRS_LOG_EVERY(info, kLogInterval,
                 "softroce: {}: refusing {}, service id {:#x}, reason {}",
                 engine_->local_address().ToString(), from.ToString(),
                 req.service_id, static_cast<int>(rej.reason));
  SendTo(Flow(engine_->local_address(), WithRocePort(from)),
         {datagram.transaction_id, rej});
}

void CmAgent::Handle(CmSession* session, CmOutcome outcome) {
  if (outcome != CmOutcome::kNone && session->qp != nullptr) {
    session->qp->OnCm(outcome);
  }
  Changed(session);
}

void CmAgent::OnUnreachable(const SocketAddress& peer, int error) {
  for (const auto& [comm_id, session] : sessions_) {
    if (session->qp != nullptr && session->peer().SameHost(peer) &&
        session->connection.state() == CmState::kReqSent) {
      session->qp->OnUnreachable(error);
    }
  }
}

void CmAgent::OnTimer(absl::Time now) {
  deadline_ = absl::InfiniteFuture();
  std::vector<uint32_t> closed;
  for (const auto& [comm_id, session] : sessions_) {
    if (now >= session->connection.NextDeadline()) {
      Handle(session.get(), session->connection.OnTimer(now));
    }
    if (session->connection.state() == CmState::kClosed &&
        session->qp == nullptr) {
      closed.push_back(comm_id);
    } else {
      deadline_ = std::min(deadline_, session->connection.NextDeadline());
    }
  }
  for (const uint32_t comm_id : closed) {
    CmSession* session = Find(comm_id);
    if (session->qpn != 0) engine_->Release(session->qpn);
    const auto key = by_peer_.find(
        {session->peer().HostString(), session->connection.remote_comm_id()});
    if (key != by_peer_.end() && key->second == comm_id) by_peer_.erase(key);
    sessions_.erase(comm_id);
  }
}

}  // namespace rtrs::softroce
