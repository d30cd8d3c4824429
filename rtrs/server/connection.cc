// Set-up, tear-down and everything that is received; the responses are in
// connection_response.cc.
#include "rtrs/server/connection.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/server/control.h"
#include "rtrs/server/path.h"
#include "rtrs/server/send_wr_id.h"
#include "rtrs/server/session_impl.h"
#include "rtrs/server/worker.h"
#include "rtrs/wire/immediate.h"

namespace rtrs::server {
namespace {

// Work requests of the longest response: data, invalidation, immediate.
constexpr uint32_t kMaxResponseWrs = 3;
// With always_invalidate: the end of the old rkey, and the fresh one.
constexpr uint32_t kMaxRequestWrs = kMaxResponseWrs + 2;
// More responses than this in the send queue at once wait for room: memory that
// long queues walk through costs more than a wait that hardly ever happens.
constexpr uint32_t kMaxSendDepth = 1024;
// Receives beyond the requests that the client may have in flight, for
// heartbeats and for what crosses on the way.
constexpr uint32_t kSpareReceives = 8;
constexpr absl::Duration kLeaveTimeout = absl::Seconds(10);

}  // namespace

const char* ConnectionStateName(ConnectionState state) {
  switch (state) {
    case ConnectionState::kNew:
      return "new";
    case ConnectionState::kOpen:
      return "open";
    case ConnectionState::kFailed:
      return "failed";
    case ConnectionState::kLeaving:
      return "leaving";
    case ConnectionState::kDraining:
      return "draining";
    case ConnectionState::kGone:
      return "gone";
  }
  return "unknown";
}

Connection::Connection(Path* path, WorkerImpl* worker, Handler* handler,
                       uint16_t cid)
    : path_(path),
      worker_(worker),
      handler_(handler),
      cid_(cid),
      port_(worker->port(path->port())) {}

Connection::~Connection() = default;

void Connection::Move(ConnectionState to, absl::string_view why) {
  RTRS_LOG(debug, "path {} cid {}: {} -> {}: {}", path_->name(), cid_,
           ConnectionStateName(state()), ConnectionStateName(to), why);
  state_.store(to, std::memory_order_release);
}

void Connection::Accept(std::unique_ptr<fabric::ConnectRequest> request,
                        absl::Span<const uint8_t> private_data,
                        const ServerOptions& options) {
  if (path_->state() != PathState::kConnecting) {
    request->Reject(EncodeRejection(ECONNRESET));
    return;
  }
  const absl::Status status = SetUp(&request, private_data, options);
  if (status.ok()) return;
  if (request != nullptr) {
    request->Reject(EncodeRejection(ErrnoOf(status)));
    disconnected_ = true;  // it never was connected
  }
  Fail(absl::StrCat("accept: ", status.message()));
}

absl::Status Connection::SetUp(std::unique_ptr<fabric::ConnectRequest>* request,
                               absl::Span<const uint8_t> private_data,
                               const ServerOptions& options) {
  const uint32_t queue_depth = options.sess_queue_depth;
  queue_depth_ = queue_depth;
  mem_bits_ = wire::MemBits(queue_depth);
  // One less than the device has: fabrics may need a marker of their own.
  const uint32_t device_max = port_->fabric()->device().max_qp_wr - 1;
  const uint32_t wrs =
      options.always_invalidate ? kMaxRequestWrs : kMaxResponseWrs;
  send_depth_ =
      std::min({device_max, kMaxSendDepth, wrs * queue_depth + kReservedSends});
  // The first rkeys of all chunks and the INFO_RSP; see CheckDevice.
  if (options.always_invalidate && cid_ == 0) {
    send_depth_ = std::max(send_depth_, queue_depth + kReservedSends);
  }
  const uint32_t requests =
      cid_ == 0 ? std::max(queue_depth, wire::kServiceConnectionDepth)
                : queue_depth;
  const uint32_t receives = std::min(device_max, requests + kSpareReceives);
  if (send_depth_ < kReservedSends + wrs) {
    return ErrnoError(ENOMEM, "the device's queues are too short");
  }
  signal_interval_ = send_depth_ < 16 ? 1 : send_depth_ / 4;

  RTRS_ASSIGN_OR_RETURN(cq_, port_->Reserve(send_depth_ + receives));
  cq_entries_ = send_depth_ + receives;
  fabric::QueuePairInit init;
  init.pd = path_->registration().pd.get();
  init.cq = cq_->queue.get();
  init.max_send_wr = send_depth_;
  init.max_recv_wr = receives;
  init.rekeyed = options.always_invalidate;
  init.context = this;
  RTRS_ASSIGN_OR_RETURN(qp_, port_->channel()->CreateQp(init));

  // All receives now, so that no worker has to be asked for them when the
  // INFO_REQ comes. Theirs is the first of cid 0: messages take them in order.
  std::vector<fabric::RecvWr> list(receives);
  for (fabric::RecvWr& wr : list) wr.wr_id = WrId(WrKind::kReceive);
  if (cid_ == 0) {
    list[0].wr_id = WrId(WrKind::kInfoRequest);
    list[0].address = path_->info_request();
    list[0].length = wire::InfoRequest::kSize;
    list[0].lkey = path_->control_lkey();
  }
  RTRS_RETURN_IF_ERROR(qp_->PostRecv(list));
  // Before the client can know that it is connected, and send an INFO_REQ that
  // finds all connections open.
  Move(ConnectionState::kOpen, "accepted");
  return qp_->Accept(std::move(*request), private_data);
}

void Connection::Fail(absl::string_view why) {
  const ConnectionState now = state();
  if (now != ConnectionState::kNew && now != ConnectionState::kOpen) return;
  Move(ConnectionState::kFailed, why);
  path_->control()->PostClose(path_, absl::StrCat("cid ", cid_, ": ", why));
}

void Connection::ProtocolError(absl::string_view why) {
  path_->control()->CountProtocolError();
  RTRS_LOG_EVERY(warn, absl::Seconds(5), "path {} cid {}: {}: closing the path",
                 path_->name(), cid_, why);
  Fail(why);
}

void Connection::Stop() {
  stopping_ = true;
  ReportIfIdle();
}

void Connection::ReportIfIdle() {
  if (!stopping_ || inflight_ != 0) return;
  stopping_ = false;
  path_->control()->PostIdle(path_);
}

void Connection::Leave() {
  stopping_ = false;
  // What waits will not be sent any more, nor complete.
  while (Operation* op = waiting_.PopFront()) {
    op->started ? DropRequest(op) : ForgetRequest(op);
  }
  while (Operation* op = invalidating_.PopFront()) ForgetRequest(op);
  Move(ConnectionState::kLeaving, "the path closes");
}

void Connection::Close() {
  Leave();
  if (qp_ == nullptr) return MakeReapable();
  qp_->Disconnect();
  if (disconnected_) return MakeReapable();
  worker_->AddLeaving(this, worker_->Now() + kLeaveTimeout);
}

void Connection::Abort() {
  switch (state()) {
    case ConnectionState::kNew:
    case ConnectionState::kOpen:
    case ConnectionState::kFailed:
      Leave();
      break;
    case ConnectionState::kLeaving:
      break;
    case ConnectionState::kDraining:
    case ConnectionState::kGone:
      return;
  }
  MakeReapable();
}

void Connection::MakeReapable() {
  if (!std::exchange(reapable_, true)) worker_->AddReapable(this);
}

void Connection::HandleEvent(const fabric::CmEvent& event) {
  switch (event.type) {
    case fabric::CmEvent::Type::kEstablished:
      RTRS_LOG(debug, "path {} cid {}: established", path_->name(), cid_);
      return;
    case fabric::CmEvent::Type::kDisconnected:
      if (std::exchange(disconnected_, true)) return;
      if (state() == ConnectionState::kLeaving) return MakeReapable();
      qp_->Disconnect();
      Fail(event.status.ok() ? "disconnected" : event.status.message());
      return;
    default:
      disconnected_ = true;  // nothing more is to come
      Fail(absl::StrCat(fabric::CmEventName(event.type), ": ",
                        event.status.message()));
      return;
  }
}

void Connection::GiveUpWaiting() {
  RTRS_LOG(info, "path {} cid {}: the peer did not confirm the disconnect",
           path_->name(), cid_);
  MakeReapable();
}

void Connection::DestroyQueuePair() {
  qp_.reset();
  if (cq_ != nullptr) port_->Return(cq_, cq_entries_);
  cq_ = nullptr;
  Move(ConnectionState::kDraining, "queue pair destroyed");
  path_->control()->PostRetired(path_);
  ReportIfGone();
}

void Connection::ReportIfGone() {
  if (state() != ConnectionState::kDraining || inflight_ != 0) return;
  Move(ConnectionState::kGone, "no requests left");
  path_->control()->PostGone(path_);
}

void Connection::HandleCompletion(const fabric::WorkCompletion& wc) {
  if (wc.status != fabric::WcStatus::kSuccess) {
    if (wc.status != fabric::WcStatus::kFlushed) {
      Fail(fabric::WcStatusName(wc.status));
    }
    return;
  }
  switch (WrKindOf(wc.wr_id)) {
    case WrKind::kInvalidation:
      HandleInvalidation();
      [[fallthrough]];
    case WrKind::kSend:
      send_done_ = SendCountOf(wc.wr_id);
      SendWaiting();
      return;
    case WrKind::kReceive:
    case WrKind::kInfoRequest:
      if (state() == ConnectionState::kOpen) HandleReceive(wc);
      return;
  }
}

void Connection::HandleReceive(const fabric::WorkCompletion& wc) {
  path_->NoteReception();
  const bool info_receive = WrKindOf(wc.wr_id) == WrKind::kInfoRequest;
  if (wc.opcode == fabric::WcOpcode::kRecv) {
    if (!info_receive || (wc.flags & fabric::kWithImm) != 0) {
      return ProtocolError("an unexpected SEND");
    }
    const absl::Status status = path_->control()->OnInfoRequest(
        path_, absl::MakeConstSpan(path_->info_request(), wc.byte_len));
    if (!status.ok()) ProtocolError(status.message());
    return;
  }
  // Posted again before anything else: the client never finds it missing.
  fabric::RecvWr wr;
  wr.wr_id = WrId(WrKind::kReceive);
  const absl::Status status = qp_->PostRecv(absl::MakeConstSpan(&wr, 1));
  if (!status.ok()) return Fail(status.message());
  HandleImmediate(wc.imm);
}

void Connection::HandleImmediate(uint32_t imm) {
  switch (path_->state()) {
    case PathState::kConnecting:
      return ProtocolError("an immediate before the INFO_REQ");
    case PathState::kConnected:
      break;
    case PathState::kStopping:
      // The client sends it again elsewhere, or when we are back.
      if (wire::ImmTypeOf(imm) == wire::ImmType::kIoRequest) return;
      break;
    case PathState::kClosing:
    case PathState::kRetired:
      return;
  }
  switch (wire::ImmTypeOf(imm)) {
    case wire::ImmType::kIoRequest:
      return HandleIoRequest(imm);
    case wire::ImmType::kHeartbeat:
      if (cid_ == 0) return SendHeartbeat(/*ack=*/true);
      break;
    case wire::ImmType::kHeartbeatAck:
      if (cid_ == 0) return;  // a reception, which is all that it says
      break;
    case wire::ImmType::kFence:
      if (cid_ == 0 && path_->control()->Has(*path_->session(),
                                             wire::Capabilities::kFence)) {
        const absl::Status status = path_->control()->OnFence(path_, imm);
        if (!status.ok()) ProtocolError(status.message());
        return;
      }
      break;
    case wire::ImmType::kNoticeAck:
      if (notices_.Acknowledge(wire::DecodeNoticeImm(imm))) {
        return SendNextNotice();
      }
      break;
    default:
      break;
  }
  path_->control()->CountProtocolError();
  RTRS_LOG_EVERY(warn, absl::Seconds(5),
                 "path {} cid {}: immediate {:#010x} has no meaning here: "
                 "ignored",
                 path_->name(), cid_, imm);
}

void Connection::HandleIoRequest(uint32_t imm) {
  const wire::IoRequestImm where = wire::DecodeIoRequestImm(imm, mem_bits_);
  SessionImpl* session = path_->session();
  if (where.buf_id >= queue_depth_ || where.offset >= session->chunk_size()) {
    return ProtocolError(absl::StrCat("a request for chunk ", where.buf_id,
                                      " offset ", where.offset,
                                      ", outside of the chunks"));
  }
  Operation* op = path_->operation(where.buf_id);
  if (op->busy.exchange(true, std::memory_order_acquire)) {
    return ProtocolError(absl::StrCat("a request for chunk ", where.buf_id,
                                      ", which another request still uses"));
  }
  op->connection = this;
  op->worker = worker_;
  op->error = 0;
  op->offset = where.offset;
  op->started = false;
  ++inflight_;
  if (path_->windows() != nullptr) return SendOrWait(op);
  StartRequest(op);
}

void Connection::HandleInvalidation() {
  // Otherwise they wait for Close.
  if (state() != ConnectionState::kOpen || !path_->Answers()) return;
  if (Operation* op = invalidating_.PopFront()) StartRequest(op);
}

void Connection::StartRequest(Operation* op) {
  SessionImpl* session = path_->session();
  op->started = true;
  const Verdict verdict =
      ParseRequest(session->chunk(op->buf_id), op->offset, op);
  if (verdict == Verdict::kClose ||
      (op->need_inval && !port_->fabric()->device().send_with_invalidate)) {
    ForgetRequest(op);
    return ProtocolError(
        verdict == Verdict::kClose
            ? "a request header that is no WRITE or READ"
            : "a request that asks for an invalidation, which this device "
              "cannot send");
  }
  if (verdict == Verdict::kRefuse) {
    op->error = EINVAL;
    path_->control()->CountProtocolError();
    RTRS_LOG_EVERY(warn, absl::Seconds(5),
                   "path {} cid {}: a request with lengths that do not fit: "
                   "refused",
                   path_->name(), cid_);
  }
  if (session->owners().Claim(op)) RunRequest(op);
}

void Connection::RunRequest(Operation* op) {
  if (op->error != 0) return CompleteRequest(op, op->error);
  handler_->OnRequest(op);
}

}  // namespace rtrs::server
