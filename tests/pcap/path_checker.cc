#include "tests/pcap/path_checker.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace rtrs::pcap {
namespace {

using wire::ImmType;

constexpr size_t kInfoReqReserved = 257;

}  // namespace

PathChecker::PathChecker(const wire::ConnectRequest& first, Report* report,
                         RnbdChecker* rnbd)
    : first_(first), report_(report), rnbd_(rnbd) {}

void PathChecker::Problem(int frame, uint16_t cid, const std::string& text) {
  report_->AddProblem(frame, connections_[cid].id, text);
}

void PathChecker::Trace(int frame, uint16_t cid, Sender sender,
                        const std::string& text) {
  report_->Trace(frame, connections_[cid].id, sender, text);
}

void PathChecker::AddConnection(uint16_t cid, ConnectionId id) {
  connections_[cid] = Connection{id, false, std::nullopt};
}

bool PathChecker::IsAccepted(uint16_t cid) const {
  const auto it = connections_.find(cid);
  return it != connections_.end() && it->second.accepted;
}

void PathChecker::OnAccept(int frame, uint16_t cid,
                           const wire::ConnectResponse& response) {
  connections_[cid].accepted = true;
  if (!limits_.has_value()) {
    limits_ = response;
    // Both were checked not to wrap or to be zero.
    chunk_size_ = response.max_io_size + response.max_hdr_size;
  } else if (!(response == *limits_)) {
    Problem(frame, cid, "accept with other values than that of cid 0");
  }
  const bool all = connections_.size() == first_.cid_num &&
                   std::all_of(connections_.begin(), connections_.end(),
                               [](const auto& c) { return c.second.accepted; });
  if (all && state_ == State::kConnecting) state_ = State::kAccepted;
}

void PathChecker::OnMessage(int frame, uint16_t cid, const Message& message) {
  switch (state_) {
    case State::kConnecting:
      Problem(frame, cid, "message before every connection was accepted");
      break;
    case State::kAccepted:
      OnInfoRequest(frame, cid, message);
      break;
    case State::kInfo:
      OnInfoResponse(frame, cid, message);
      break;
    case State::kConnected:
      if (message.sender == Sender::kClient) {
        OnClientMessage(frame, cid, message);
      } else {
        OnServerMessage(frame, cid, message);
      }
      break;
    case State::kClosed:
      break;  // was on its way when the other end closed
  }
}

void PathChecker::OnInfoRequest(int frame, uint16_t cid,
                                const Message& message) {
  if (message.sender != Sender::kClient || cid != 0 ||
      message.kind != Message::Kind::kSend || message.imm.has_value() ||
      message.invalidated_rkey.has_value()) {
    Problem(frame, cid,
            "the first message is not a SEND with INFO_REQ on cid 0");
    return;
  }
  const auto v = wire::DecodeInfoRequest(message.bytes);
  if (!v.ok()) {
    Problem(frame, cid, absl::StrCat(v.status().message()));
    return;
  }
  if (message.bytes.size() != wire::InfoRequest::kSize) {
    Problem(frame, cid,
            absl::StrCat("INFO_REQ of ", message.bytes.size(), " bytes"));
  } else if (!AllZero(absl::MakeConstSpan(message.bytes)
                          .subspan(kInfoReqReserved))) {
    Problem(frame, cid, "INFO_REQ with reserved bytes that are not zero");
  }
  session_name_ = v->sessname;
  for (const auto& [other, connection] : connections_) {
    report_->connection(connection.id).session_name = session_name_;
  }
  Trace(frame, cid, message.sender,
        absl::StrCat("INFO_REQ \"", session_name_, "\""));
  state_ = State::kInfo;
}

void PathChecker::OnInfoResponse(int frame, uint16_t cid,
                                 const Message& message) {
  if (message.sender != Sender::kServer || cid != 0 ||
      message.kind != Message::Kind::kSend || message.imm.has_value() ||
      message.invalidated_rkey.has_value()) {
    Problem(frame, cid,
            "the answer to INFO_REQ is not a SEND with INFO_RSP on cid 0");
    return;
  }
  const auto v = wire::DecodeInfoResponse(message.bytes, limits_->queue_depth,
                                          chunk_size_);
  if (!v.ok()) {
    Problem(frame, cid, absl::StrCat(v.status().message()));
    return;
  }
  const size_t size = wire::InfoResponse::kHeaderSize +
                      v->descriptors.size() * wire::Descriptor::kSize;
  if (message.bytes.size() != size) {
    Problem(frame, cid,
            absl::StrFormat("INFO_RSP of %d bytes, must be %d",
                            message.bytes.size(), size));
  }
  if (!AllZero(absl::MakeConstSpan(message.bytes).subspan(4, 4))) {
    Problem(frame, cid, "INFO_RSP with reserved bytes that are not zero");
  }
  for (const wire::Descriptor& d : v->descriptors) {
    for (uint32_t at = 0; at < d.length; at += chunk_size_) {
      chunks_.push_back({d.address + at, d.rkey});
      if (d.length - at <= chunk_size_) break;  // `at` must not wrap
    }
  }
  Trace(frame, cid, message.sender,
        absl::StrCat("INFO_RSP with ", v->descriptors.size(), " regions for ",
                     chunks_.size(), " chunks"));
  state_ = State::kConnected;
}

void PathChecker::OnClientMessage(int frame, uint16_t cid,
                                  const Message& message) {
  std::optional<Message>& write = connections_[cid].write;
  switch (message.kind) {
    case Message::Kind::kSend:
      Problem(frame, cid, "SEND of a client behind its INFO_REQ");
      return;
    case Message::Kind::kWrite:
      if (write.has_value()) {
        Problem(frame, cid, "RDMA write of a client without immediate");
      }
      write = message;
      return;
    case Message::Kind::kImmediate:
      break;
  }
  const uint32_t imm = *message.imm;
  switch (wire::ImmTypeOf(imm)) {
    case ImmType::kIoRequest:
      if (write.has_value()) {
        OnRequest(frame, cid, imm, *write);
      } else {
        Problem(frame, cid, "request without its RDMA write");
      }
      break;
    case ImmType::kHeartbeat:
    case ImmType::kHeartbeatAck:
      if (write.has_value()) {
        Problem(frame, cid, "heartbeat that is not empty");
      }
      if (message.address != 0 || message.rkey != 0) {
        Problem(frame, cid, "heartbeat with address or rkey");
      }
      OnHeartbeat(frame, cid, message.sender, imm);
      break;
    case ImmType::kFence:
      if (write.has_value() || message.address != 0 || message.rkey != 0) {
        Problem(frame, cid, "fence that is not empty");
      }
      OnFence(frame, cid, message.sender, imm);
      break;
    case ImmType::kNoticeAck:
      if (write.has_value() || message.address != 0 || message.rkey != 0) {
        Problem(frame, cid, "notice acknowledgement that is not empty");
      }
      OnNotice(frame, cid, message.sender, imm);
      break;
    default:
      Problem(frame, cid, absl::StrFormat("immediate 0x%08x of a client", imm));
      break;
  }
  write.reset();
}

void PathChecker::OnServerMessage(int frame, uint16_t cid,
                                  const Message& message) {
  switch (message.kind) {
    case Message::Kind::kWrite:
      OnServerWrite(frame, cid, message);
      return;
    case Message::Kind::kSend:
      OnServerSend(frame, cid, message);
      return;
    case Message::Kind::kImmediate:
      break;
  }
  const uint32_t imm = *message.imm;
  if (message.address != 0 || message.rkey != 0) {
    Problem(frame, cid, "empty RDMA write with address or rkey");
  }
  switch (wire::ImmTypeOf(imm)) {
    case ImmType::kIoResponse:
    case ImmType::kIoResponseInv:
      if ((limits_->flags & wire::ConnectResponse::kFlagNewRkey) != 0) {
        Problem(frame, cid,
                "response without RKEY_RSP although NEW_RKEY is on");
      }
      OnResponse(frame, cid, imm);
      break;
    case ImmType::kHeartbeat:
    case ImmType::kHeartbeatAck:
      OnHeartbeat(frame, cid, message.sender, imm);
      break;
    case ImmType::kFenceDone:
      OnFence(frame, cid, message.sender, imm);
      break;
    case ImmType::kNotice:
      OnNotice(frame, cid, message.sender, imm);
      break;
    default:
      Problem(frame, cid, absl::StrFormat("immediate 0x%08x of a server", imm));
      break;
  }
}

void PathChecker::OnHeartbeat(int frame, uint16_t cid, Sender sender,
                              uint32_t imm) {
  if (cid != 0) Problem(frame, cid, "heartbeat outside of cid 0");
  if ((imm & wire::kImmPayloadMask) != 0) {
    Problem(frame, cid, absl::StrFormat("heartbeat 0x%08x with payload", imm));
  }
  const int own = static_cast<int>(sender);
  if (wire::ImmTypeOf(imm) == ImmType::kHeartbeat) {
    ++report_->connection(connections_[cid].id).heartbeats;
    ++heartbeats_[own];
    Trace(frame, cid, sender, "heartbeat");
  } else if (heartbeats_[1 - own] == 0) {
    Problem(frame, cid, "heartbeat acknowledged that was not sent");
  } else {
    --heartbeats_[1 - own];
    Trace(frame, cid, sender, "heartbeat ack");
  }
}

void PathChecker::CheckExtension(int frame, uint16_t cid, uint32_t capability,
                                 const std::string& what) {
  if (cid != 0) Problem(frame, cid, absl::StrCat(what, " outside of cid 0"));
  if (!first_.capabilities.Has(capability) ||
      !limits_->capabilities.Has(capability)) {
    Problem(frame, cid,
            absl::StrCat(what, " that was not announced by both ends"));
  }
}

void PathChecker::OnNotice(int frame, uint16_t cid, Sender sender,
                           uint32_t imm) {
  CheckExtension(frame, cid, wire::Capabilities::kNotice, "notice");
  const uint32_t payload = wire::DecodeNoticeImm(imm);
  if (wire::ImmTypeOf(imm) == ImmType::kNotice) {
    if (notice_.has_value()) {
      Problem(frame, cid, "notice before the last one was acknowledged");
    }
    notice_ = payload;
    ++report_->connection(connections_[cid].id).notices;
    Trace(frame, cid, sender, absl::StrCat("notice of device ", payload));
    for (const std::string& problem : rnbd_->OnNotice(payload)) {
      Problem(frame, cid, problem);
    }
  } else if (notice_ != payload) {
    Problem(frame, cid, "notice acknowledged that was not sent");
  } else {
    notice_.reset();
    Trace(frame, cid, sender, "notice ack");
  }
}

void PathChecker::OnFence(int frame, uint16_t cid, Sender sender,
                          uint32_t imm) {
  CheckExtension(frame, cid, wire::Capabilities::kFence, "fence");
  const uint32_t payload = imm & wire::kImmPayloadMask;
  if (wire::ImmTypeOf(imm) == ImmType::kFence) {
    fences_.insert(payload);
    Trace(frame, cid, sender, "fence");
  } else if (const auto it = fences_.find(payload); it == fences_.end()) {
    Problem(frame, cid, "fence confirmed that was not asked for");
  } else {
    fences_.erase(it);
    Trace(frame, cid, sender, "fence done");
  }
}

void PathChecker::Close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  for (const auto& [buf_id, request] : requests_) {
    ++report_->connection(connections_[request.cid].id).unanswered;
  }
}

}  // namespace rtrs::pcap
