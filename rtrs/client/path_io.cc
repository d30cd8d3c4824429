// What moves over a connected path: requests, responses, heartbeats, notices.
#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/client/path.h"
#include "rtrs/client/path_errors.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::client {

bool Path::Poll(absl::Time now) {
  bool any = false;
  for (fabric::CompletionQueue* cq : {io_cq_.get(), service_cq_.get()}) {
    if (cq == nullptr) continue;
    int n;
    do {
      n = cq->Poll(absl::MakeSpan(polled_));
      any = any || n > 0;
      for (int i = 0; i < n; ++i) OnCompletion(polled_[i], now);
    } while (n == static_cast<int>(polled_.size()));
  }
  if (absl::Status s = AfterPoll(); !s.ok()) Fail(PathError(spec_, s));
  return any;
}

absl::Status Path::AfterPoll() {
  if (state_ != PathState::kConnected) return absl::OkStatus();
  // Before the next requests go out, so that no receive is missing for them.
  for (const auto& con : cons_) RTRS_RETURN_IF_ERROR(con->Repost());
  if (std::exchange(ack_due_, false)) {
    RTRS_RETURN_IF_ERROR(SendImmediate(wire::kHeartbeatAckImm));
  }
  if (!notice_due_.has_value()) return absl::OkStatus();
  const uint32_t ack =
      wire::EncodeNoticeImm(wire::ImmType::kNoticeAck, *notice_due_);
  notice_due_.reset();
  return SendImmediate(ack);
}

void Path::OnCompletion(const fabric::WorkCompletion& wc, absl::Time now) {
  // What is left of a path that failed or is closing means nothing any more,
  // except that orderly closing waits for kDisconnected.
  if (state_ != PathState::kInfo && state_ != PathState::kConnected &&
      state_ != PathState::kConnecting) {
    return;
  }
  auto* const con = static_cast<Connection*>(wc.qp->context());
  const WrId id = WrId::Unpack(wc.wr_id);
  if (wc.status != fabric::WcStatus::kSuccess) {
    // A flush only follows what kDisconnected or an error tells.
    if (wc.status == fabric::WcStatus::kFlushed) return;
    Fail(PathError(
        spec_,
        ErrnoError(ECONNRESET, absl::StrCat("connection ", con->cid(), ": ",
                                            fabric::WcStatusName(wc.status)))));
    return;
  }
  if (id.kind == WrId::Kind::kSend) {
    con->OnSendCompletion(id);
    if (id.permit != WrId::kNoPermit) {
      env_->host->OnSendCompletion(this, id.permit);
    }
    return;
  }
  heartbeat_.OnReceive();
  absl::Status status = wc.opcode == fabric::WcOpcode::kRecvRdmaWithImm
                            ? OnImmediate(con, wc.imm, now)
                            : OnMessage(con, wc, id, now);
  if (!status.ok()) {
    Fail(PathError(spec_,
                   Annotate(status, absl::StrCat("connection ", con->cid()))));
    return;
  }
  if (id.kind == WrId::Kind::kReceive) con->ReleaseReceive(id.number);
}

absl::Status Path::OnMessage(Connection* con, const fabric::WorkCompletion& wc,
                             const WrId& id, absl::Time now) {
  if (wc.flags & fabric::kWithInv) {
    return ErrnoError(EPROTO,
                      "the server invalidated a key it was not asked to");
  }
  if (id.kind == WrId::Kind::kInfoReceive && !(wc.flags & fabric::kWithImm)) {
    OnInfoResponse(wc.byte_len, now);
    return absl::OkStatus();
  }
  if (id.kind != WrId::Kind::kReceive || !(wc.flags & fabric::kWithImm)) {
    return ErrnoError(EPROTO, "unexpected message from the server");
  }
  return OnRkeyResponse(con, con->ReceiveBytes(id.number), wc);
}

absl::Status Path::OnRkeyResponse(Connection* con, const uint8_t* bytes,
                                  const fabric::WorkCompletion& wc) {
  if (!limits_.new_rkey || state_ != PathState::kConnected) {
    return ErrnoError(EPROTO, "RKEY_RSP that was not announced");
  }
  RTRS_ASSIGN_OR_RETURN(const wire::RkeyResponse refresh,
                        wire::DecodeRkeyResponse({bytes, wc.byte_len}));
  const wire::ImmType type = wire::ImmTypeOf(wc.imm);
  const wire::IoResponseImm response = wire::DecodeIoResponseImm(wc.imm);
  if ((type != wire::ImmType::kIoResponse &&
       type != wire::ImmType::kIoResponseInv) ||
      refresh.buf_id >= limits_.queue_depth ||
      refresh.buf_id != response.msg_id) {
    return ErrnoError(EPROTO,
                      absl::StrCat("RKEY_RSP for chunk ", refresh.buf_id,
                                   " with immediate ", absl::Hex(wc.imm)));
  }
  RTRS_RETURN_IF_ERROR(Respond(con, response));
  chunks_[refresh.buf_id].rkey = refresh.rkey;
  return absl::OkStatus();
}

absl::Status Path::OnImmediate(Connection* con, uint32_t imm, absl::Time now) {
  switch (wire::ImmTypeOf(imm)) {
    case wire::ImmType::kIoResponse:
    case wire::ImmType::kIoResponseInv:
      return Respond(con, wire::DecodeIoResponseImm(imm));
    case wire::ImmType::kHeartbeat:
      // Answered once per batch, however many there are.
      if (con->cid() == 0) ack_due_ = true;
      return absl::OkStatus();
    case wire::ImmType::kHeartbeatAck:
      heartbeat_.OnAck(now);
      return absl::OkStatus();
    case wire::ImmType::kFenceDone:
      if (con->cid() != 0) break;
      env_->host->OnFenceDone(this, wire::DecodeFenceImm(imm));
      return absl::OkStatus();
    case wire::ImmType::kNotice:
      if (con->cid() != 0 || state_ != PathState::kConnected ||
          !limits_.capabilities.Has(wire::Capabilities::kNotice)) {
        break;
      }
      // One at a time, so that it is the last of a batch that waits for its
      // answer.
      notice_due_ = wire::DecodeNoticeImm(imm);
      env_->host->OnNotice(*notice_due_);
      return absl::OkStatus();
    case wire::ImmType::kIoRequest:
    case wire::ImmType::kFence:
    case wire::ImmType::kNoticeAck:
      break;
  }
  RTRS_LOG_EVERY(warn, absl::Seconds(10),
                 "session {}: path {}: immediate {:#x} of unknown type ignored",
                 env_->options->sessname, spec_.ToString(), imm);
  return absl::OkStatus();
}

absl::Status Path::Respond(Connection* con,
                           const wire::IoResponseImm& response) {
  if (state_ != PathState::kConnected ||
      response.msg_id >= limits_.queue_depth) {
    return ErrnoError(EPROTO,
                      absl::StrCat("response for chunk ", response.msg_id,
                                   ", which was not asked for"));
  }
  RTRS_RETURN_IF_ERROR(env_->host->OnResponse(this, con->cid(), response));
  con->OnRequestAnswered();
  --in_flight_;
  return absl::OkStatus();
}

absl::Status Path::SendImmediate(uint32_t imm) {
  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kRdmaWriteWithImm;
  wr.imm = imm;
  return cons_[0]->Post(wr);
}

bool Path::SendFence(const wire::FenceImm& fence) {
  // What requests leave free belongs to heartbeats.
  if (state_ != PathState::kConnected || !cons_[0]->HasRoom()) return false;
  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kRdmaWriteWithImm;
  wr.imm = wire::EncodeFenceImm(wire::ImmType::kFence, fence);
  const absl::Status status = cons_[0]->Post(wr);
  if (!status.ok()) Fail(PathError(spec_, status));
  return status.ok();
}

Connection* Path::ConnectionFor(const Request& request) const {
  if (state_ != PathState::kConnected) return nullptr;
  if (request.service) return cons_[0]->HasRoom() ? cons_[0].get() : nullptr;
  const size_t count = cons_.size() - 1;
  for (size_t i = 0; i < count; ++i) {
    Connection* const con = cons_[1 + (request.affinity + i) % count].get();
    if (con->HasRoom()) return con;
  }
  return nullptr;
}

absl::StatusOr<uint16_t> Path::Send(const OutgoingRequest& out) {
  const Request& request = *out.request;
  const bool write = request.direction == Direction::kWrite;
  const auto usr_len = static_cast<uint32_t>(request.user_message.size());
  const Chunk& chunk = chunks_[out.permit];

  wire::IoHeader io;
  io.usr_len = static_cast<uint16_t>(usr_len);
  if (write) {
    io.type = wire::RtrsType::kWrite;
  } else {
    io.type = wire::RtrsType::kRead;
    io.has_descriptor = request.data_len > 0;
    if (io.has_descriptor) {
      io.descriptor = {out.data->remote_address(), out.data->region->rkey(),
                       request.data_len};
    }
  }
  const auto header_len = static_cast<uint32_t>(
      usr_len + wire::EncodeIoHeader(io, out.header + usr_len));

  std::array<fabric::Sge, 2> sges;
  size_t count = 0;
  if (write && request.data_len > 0) {
    sges[count++] = {out.data->local, request.data_len,
                     out.data->region->lkey()};
  }
  sges[count++] = {out.header, header_len, out.header_lkey};

  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kRdmaWriteWithImm;
  wr.sg_list = absl::MakeConstSpan(sges.data(), count);
  wr.imm = wire::EncodeIoRequestImm({out.permit, request.data_len + usr_len},
                                    limits_.mem_bits);
  wr.remote_address = chunk.address + (write ? 0 : request.data_len);
  wr.rkey = chunk.rkey;
  Connection* const con = ConnectionFor(request);
  const absl::Status status =
      con == nullptr
          ? ErrnoError(ENOTCONN, "no connection")
          : con->Post(wr, out.own_completion ? out.permit : WrId::kNoPermit);
  if (!status.ok()) {
    Fail(PathError(spec_, status));
    return status;
  }
  con->OnRequestSent();
  ++in_flight_;
  return con->cid();
}

}  // namespace rtrs::client
