// Responses, heartbeats, notices: what a connection sends. wire.md §4.5, §4.8,
// §5.1.
#include <array>
#include <utility>
#include <vector>

#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/server/connection.h"
#include "rtrs/server/control.h"
#include "rtrs/server/path.h"
#include "rtrs/server/send_wr_id.h"
#include "rtrs/server/session_impl.h"
#include "rtrs/server/worker.h"
#include "rtrs/wire/immediate.h"

namespace rtrs::server {
namespace {

bool SendsData(const Operation& op) {
  return op.error == 0 && op.has_descriptor;
}

}  // namespace

absl::Status Connection::PostChain(absl::Span<fabric::SendWr> list) {
  uint64_t count = send_posted_;
  for (fabric::SendWr& wr : list) wr.wr_id = WrId(WrKind::kSend, ++count);
  unsignalled_ += static_cast<uint32_t>(list.size());
  if (unsignalled_ >= signal_interval_) {
    list.back().flags |= fabric::kSignaled;
    unsignalled_ = 0;
  }
  send_posted_ = count;
  return qp_->PostSend(list, fabric::Doorbell::kDeferred);
}

absl::StatusOr<uint32_t> Connection::PostBind(fabric::BindWr wr, WrKind kind) {
  wr.wr_id = WrId(kind, ++send_posted_);
  ++unsignalled_;
  if (kind == WrKind::kInvalidation || unsignalled_ >= signal_interval_) {
    wr.flags = fabric::kSignaled;
    unsignalled_ = 0;
  }
  return qp_->BindWindow(wr);
}

// A bind, or the chain of §4.5. With flags 0 and no invalidation data and
// completion travel together (trap 35).
uint32_t Connection::NextWrs(const Operation& op) const {
  if (!op.started) return 1;
  const uint32_t data = SendsData(op) ? 1 : 0;
  const uint32_t invalidation = op.need_inval ? 1 : 0;
  if (path_->windows() != nullptr) return data + invalidation + 2;
  return invalidation == 1 ? data + 2 : 1;
}

void Connection::SendOrWait(Operation* op) {
  if (waiting_.empty() && SendRoom(NextWrs(*op) + kReservedSends)) {
    return SendNext(op);
  }
  waiting_.PushBack(op);
}

void Connection::SendNext(Operation* op) {
  op->started ? SendResponse(op) : Invalidate(op);
}

void Connection::Invalidate(Operation* op) {
  const auto status =
      PostBind(path_->windows()->Unbind(op->buf_id), WrKind::kInvalidation);
  if (!status.ok()) {
    ForgetRequest(op);
    return Fail(status.status().message());
  }
  invalidating_.PushBack(op);
  port_->NotePosted(0);
}

void Connection::CompleteRequest(Operation* op, int error) {
  op->error = error;
  if (state() != ConnectionState::kOpen || !path_->Answers()) {
    return DropRequest(op);
  }
  SendOrWait(op);
}

void Connection::SendResponse(Operation* op) {
  const fabric::MemoryRegion& region = *path_->registration().region;
  ChunkWindows* windows = path_->windows();
  fabric::Sge sge;
  fabric::Sge rkey_response;
  std::array<fabric::SendWr, 3> list;
  size_t n = 0;
  if (windows != nullptr) {
    const auto rkey = PostBind(windows->Bind(op->buf_id), WrKind::kSend);
    if (!rkey.ok()) {
      DropRequest(op);
      return Fail(rkey.status().message());
    }
    rkey_response = windows->RkeyResponse(op->buf_id, *rkey);
  }
  const bool invalidate = op->need_inval;
  if (SendsData(*op)) {
    sge = {path_->session()->chunk(op->buf_id).data(), op->descriptor.length,
           region.lkey()};
    fabric::SendWr& wr = list[n];
    wr.opcode = fabric::WrOpcode::kRdmaWrite;
    wr.sg_list = absl::MakeConstSpan(&sge, 1);
    wr.remote_address = op->descriptor.address;
    wr.rkey = op->descriptor.rkey;
    // Else the immediate goes with it.
    if (invalidate || windows != nullptr) ++n;
  }
  if (invalidate) {
    list[n].opcode = fabric::WrOpcode::kSendWithInv;
    list[n].invalidate_rkey = op->descriptor.rkey;
    ++n;
  }
  if (windows != nullptr) {
    list[n].opcode = fabric::WrOpcode::kSendWithImm;
    list[n].sg_list = absl::MakeConstSpan(&rkey_response, 1);
  } else {
    list[n].opcode = fabric::WrOpcode::kRdmaWriteWithImm;
  }
  list[n].imm = wire::EncodeIoResponseImm({op->buf_id, op->error, invalidate});
  ++n;
  const size_t bytes = op->data.size();
  const bool write = op->direction == Direction::kWrite;
  // Given back first: once the response is on its way the client may use the
  // chunk again, on a connection of another worker.
  ReleaseOperation(op);
  const absl::Status status = PostChain(absl::MakeSpan(list.data(), n));
  if (!status.ok()) return Fail(status.message());
  write ? port_->NoteWritten(bytes) : port_->NotePosted(bytes);
  ReportIfIdle();
}

void Connection::SendWaiting() {
  if (state() != ConnectionState::kOpen) return;
  if (heartbeat_ack_waits_) SendHeartbeat(/*ack=*/true);
  if (heartbeat_waits_) SendHeartbeat(/*ack=*/false);
  if (!fence_answers_.empty()) {
    for (uint32_t imm : std::exchange(fence_answers_, {})) SendFenceDone(imm);
  }
  SendNextNotice();
  while (!waiting_.empty() &&
         SendRoom(NextWrs(*waiting_.front()) + kReservedSends)) {
    SendNext(waiting_.PopFront());
    if (state() != ConnectionState::kOpen) return;
  }
}

void Connection::ReleaseOperation(Operation* op) {
  --inflight_;
  Operation* next = path_->session()->owners().Release(op);
  op->busy.store(false, std::memory_order_release);
  if (next == nullptr) return;
  // Held until now: it came on another path of the session (§5.3).
  Connection* other = next->connection;
  other->worker_->PostTask([other, next] {
    if (other->state() == ConnectionState::kOpen) {
      other->RunRequest(next);
    } else {
      other->DropRequest(next);
    }
  });
}

void Connection::ForgetRequest(Operation* op) {
  op->busy.store(false, std::memory_order_release);
  --inflight_;
}

void Connection::DropRequest(Operation* op) {
  ReleaseOperation(op);
  ReportIfIdle();
  ReportIfGone();
}

absl::Status Connection::SendInfoResponse(const fabric::Sge& message) {
  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kSend;
  wr.sg_list = absl::MakeConstSpan(&message, 1);
  port_->NotePosted(message.length);
  return PostChain(absl::MakeSpan(&wr, 1));
}

absl::Status Connection::BindAllChunks() {
  ChunkWindows* windows = path_->windows();
  std::vector<uint32_t> rkeys(windows->count());
  for (uint32_t i = 0; i < rkeys.size(); ++i) {
    RTRS_ASSIGN_OR_RETURN(rkeys[i], PostBind(windows->Bind(i), WrKind::kSend));
  }
  return SendInfoResponse(windows->InfoResponse(rkeys));
}

void Connection::SendHeartbeat(bool ack) {
  bool& waits = ack ? heartbeat_ack_waits_ : heartbeat_waits_;
  waits = !SendRoom(1);
  if (waits) return;
  SendImmediate(ack ? wire::kHeartbeatAckImm : wire::kHeartbeatImm);
}

void Connection::SendFenceDone(uint32_t imm) {
  if (state() != ConnectionState::kOpen || !path_->Answers()) return;
  if (SendRoom(1)) return SendImmediate(imm);
  if (fence_answers_.size() >= SessionImpl::kMaxFences) {
    return ProtocolError("FENCEs whose answers it does not take");
  }
  fence_answers_.push_back(imm);
}

void Connection::SendNotice(uint32_t payload) {
  if (state() != ConnectionState::kOpen || !path_->Answers()) return;
  notices_.Add(payload);
  SendNextNotice();
}

void Connection::SendNextNotice() {
  if (!notices_.CanSend() || !SendRoom(1)) return;
  SendImmediate(
      wire::EncodeNoticeImm(wire::ImmType::kNotice, notices_.TakeNext()));
}

void Connection::SendImmediate(uint32_t imm) {
  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kRdmaWriteWithImm;
  wr.imm = imm;
  const absl::Status status = PostChain(absl::MakeSpan(&wr, 1));
  if (!status.ok()) return Fail(status.message());
  port_->NotePosted(0);
}

}  // namespace rtrs::server
