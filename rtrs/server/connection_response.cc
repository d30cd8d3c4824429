// Responses and heartbeats: what a connection sends. wire.md §4.5, §4.8, §5.1.
#include <array>
#include <utility>

#include "rtrs/base/log.h"
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

// The chain of §4.5 for flags 0. Without an invalidation data and completion
// travel together (trap 35).
uint32_t ResponseWrs(const Operation& op) {
  return op.need_inval ? (SendsData(op) ? 3 : 2) : 1;
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

void Connection::CompleteRequest(Operation* op, int error) {
  op->error = error;
  if (state() != ConnectionState::kOpen ||
      path_->state() != PathState::kConnected) {
    return DropRequest(op);
  }
  if (waiting_head_ == nullptr && SendRoom(ResponseWrs(*op) + kReservedSends)) {
    return SendResponse(op);
  }
  op->next_response = nullptr;
  if (waiting_head_ == nullptr) {
    waiting_head_ = op;
  } else {
    waiting_tail_->next_response = op;
  }
  waiting_tail_ = op;
}

void Connection::SendResponse(Operation* op) {
  const fabric::MemoryRegion& region = *path_->registration().region;
  fabric::Sge sge;
  std::array<fabric::SendWr, 3> list;
  size_t n = 0;
  const bool invalidate = op->need_inval;
  if (SendsData(*op)) {
    sge = {path_->session()->chunk(op->buf_id).data(), op->descriptor.length,
           region.lkey()};
    fabric::SendWr& wr = list[n];
    wr.opcode = fabric::WrOpcode::kRdmaWrite;
    wr.sg_list = absl::MakeConstSpan(&sge, 1);
    wr.remote_address = op->descriptor.address;
    wr.rkey = op->descriptor.rkey;
    if (invalidate) ++n;  // else the immediate goes with it
  }
  if (invalidate) {
    list[n].opcode = fabric::WrOpcode::kSendWithInv;
    list[n].invalidate_rkey = op->descriptor.rkey;
    ++n;
  }
  list[n].opcode = fabric::WrOpcode::kRdmaWriteWithImm;
  list[n].imm = wire::EncodeIoResponseImm({op->buf_id, op->error, invalidate});
  ++n;
  const size_t bytes = op->data.size();
  // Given back first: once the response is on its way the client may use the
  // chunk again, on a connection of another worker.
  ReleaseOperation(op);
  const absl::Status status = PostChain(absl::MakeSpan(list.data(), n));
  if (!status.ok()) return Fail(status.message());
  port_->NotePosted(bytes);
}

void Connection::SendWaiting() {
  if (state() != ConnectionState::kOpen) return;
  if (heartbeat_ack_waits_) SendHeartbeat(/*ack=*/true);
  if (heartbeat_waits_) SendHeartbeat(/*ack=*/false);
  while (waiting_head_ != nullptr &&
         SendRoom(ResponseWrs(*waiting_head_) + kReservedSends)) {
    Operation* op = waiting_head_;
    waiting_head_ = op->next_response;
    SendResponse(op);
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
      other->StartRequest(next);
    } else {
      other->DropRequest(next);
    }
  });
}

void Connection::DropRequest(Operation* op) {
  ReleaseOperation(op);
  ReportIfGone();
}

absl::Status Connection::SendInfoResponse(uint32_t length) {
  fabric::Sge sge = {path_->info_response(), length, path_->control_lkey()};
  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kSend;
  wr.sg_list = absl::MakeConstSpan(&sge, 1);
  port_->NotePosted(length);
  return PostChain(absl::MakeSpan(&wr, 1));
}

void Connection::SendHeartbeat(bool ack) {
  bool& waits = ack ? heartbeat_ack_waits_ : heartbeat_waits_;
  waits = !SendRoom(1);
  if (waits) return;
  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kRdmaWriteWithImm;
  wr.imm = ack ? wire::kHeartbeatAckImm : wire::kHeartbeatImm;
  const absl::Status status = PostChain(absl::MakeSpan(&wr, 1));
  if (!status.ok()) return Fail(status.message());
  port_->NotePosted(0);
}

}  // namespace rtrs::server
