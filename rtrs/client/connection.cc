#include "rtrs/client/connection.h"

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/status_macros.h"

namespace rtrs::client {

absl::StatusOr<std::unique_ptr<Connection>> Connection::Create(
    fabric::EventChannel* channel, fabric::ProtectionDomain* pd,
    fabric::CompletionQueue* cq, Path* path, uint16_t cid, uint32_t depth,
    bool rekeyed) {
  std::unique_ptr<Connection> con(new Connection(pd, path, cid, depth));
  fabric::QueuePairInit init;
  init.pd = pd;
  init.cq = cq;
  init.max_send_wr = SendEntries(depth);
  init.max_recv_wr = ReceiveEntries(depth);
  init.max_send_sge = 2;  // data and header
  init.rekeyed = rekeyed;
  init.context = con.get();
  RTRS_ASSIGN_OR_RETURN(con->qp_, channel->CreateQp(init));
  return con;
}

absl::Status Connection::PostInfoReceive(const RegisteredMemory& buffer,
                                         uint32_t length) {
  fabric::RecvWr wr;
  wr.wr_id = WrId{WrId::Kind::kInfoReceive, 0, 0}.Pack();
  wr.address = buffer.bytes.get();
  wr.length = length;
  wr.lkey = buffer.region->lkey();
  return qp_->PostRecv({&wr, 1});
}

fabric::RecvWr Connection::Receive(uint64_t slot) const {
  fabric::RecvWr wr;
  wr.wr_id = WrId{WrId::Kind::kReceive, 0, slot}.Pack();
  wr.address = receive_memory_.bytes.get() + slot * kReceiveSize;
  wr.length = kReceiveSize;
  wr.lkey = receive_memory_.region->lkey();
  return wr;
}

absl::Status Connection::PostReceives() {
  const uint32_t count = depth_ + kSpareReceives;
  RTRS_ASSIGN_OR_RETURN(receive_memory_, RegisteredMemory::Allocate(
                                             pd_, size_t{count} * kReceiveSize,
                                             fabric::kLocalWrite));
  to_repost_.reserve(count);
  for (uint32_t slot = 0; slot < count; ++slot) {
    to_repost_.push_back(Receive(slot));
  }
  return Repost();
}

void Connection::ReleaseReceive(uint64_t slot) {
  to_repost_.push_back(Receive(slot));
}

absl::Status Connection::Repost() {
  if (to_repost_.empty()) return absl::OkStatus();
  absl::Status status = qp_->PostRecv(to_repost_);
  to_repost_.clear();
  return status;
}

absl::Status Connection::Post(fabric::SendWr wr, uint32_t permit) {
  if (FreeSends() == 0) {
    return ErrnoError(ENOBUFS,
                      absl::StrCat("send queue of cid ", cid_, " is full"));
  }
  const uint64_t position = posted_ + 1;
  if (permit != WrId::kNoPermit ||
      position - signaled_ >= SignalInterval(depth_)) {
    wr.flags |= fabric::kSignaled;
    signaled_ = position;
  }
  wr.wr_id = WrId{WrId::Kind::kSend, permit, position}.Pack();
  RTRS_RETURN_IF_ERROR(qp_->PostSend({&wr, 1}, fabric::Doorbell::kDeferred));
  posted_ = position;
  return absl::OkStatus();
}

}  // namespace rtrs::client
