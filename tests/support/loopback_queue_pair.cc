#include "tests/support/loopback_queue_pair.h"

#include <errno.h>

#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rtrs/base/clock.h"

namespace rtrs::fabric {

absl::Status LoopbackQueuePair::Connect(const PathSpec& path,
                                        absl::Span<const uint8_t> private_data,
                                        absl::Duration timeout) {
  if (state_ != State::kIdle) {
    return absl::FailedPreconditionError("connect on a used queue pair");
  }
  state_ = State::kConnecting;
  peer_address_ = path.destination.ip;
  local_ = path.source.kind == PathEnd::Kind::kIp
               ? path.source.ip
               : *SocketAddress::Parse("127.0.0.1", 0);
  local_.set_port(channel_->fabric_->next_port_++);
  connect_deadline_ = Clock::System()->Now() + timeout;
  if (channel_->fabric_->black_hole_) return absl::OkStatus();
  auto it = channel_->fabric_->listeners_.find(peer_address_.ToString());
  if (it == channel_->fabric_->listeners_.end()) {
    Fail(CmEvent::Type::kConnectError,
         ErrnoError(ECONNREFUSED,
                    absl::StrCat("connect to ", peer_address_.ToString())));
    return absl::OkStatus();
  }
  CmEvent event;
  event.type = CmEvent::Type::kConnectRequest;
  event.request = std::make_unique<LoopbackRequest>(this, peer_address_, local_,
                                                    private_data);
  it->second->channel()->Push(std::move(event));
  return absl::OkStatus();
}

absl::Status LoopbackQueuePair::Accept(std::unique_ptr<ConnectRequest> request,
                                       absl::Span<const uint8_t> private_data) {
  auto* ours = static_cast<LoopbackRequest*>(request.get());
  local_ = ours->local_address();
  peer_address_ = ours->peer_address();
  LoopbackQueuePair* active = ours->Take();
  if (active == nullptr) {
    state_ = State::kError;
    CmEvent event;
    event.type = CmEvent::Type::kDisconnected;
    event.qp = this;
    event.status = ErrnoError(ECONNRESET, "the peer gave up");
    channel_->Push(std::move(event));
    return absl::OkStatus();
  }
  peer_ = active;
  active->peer_ = this;
  state_ = active->state_ = State::kEstablished;
  active->connect_deadline_ = absl::InfiniteFuture();
  CmEvent here;
  here.type = CmEvent::Type::kEstablished;
  here.qp = this;
  channel_->Push(std::move(here));
  CmEvent there;
  there.type = CmEvent::Type::kEstablished;
  there.qp = active;
  there.private_data.assign(private_data.begin(), private_data.end());
  active->channel_->Push(std::move(there));
  return absl::OkStatus();
}

absl::Status LoopbackQueuePair::PostSend(absl::Span<const SendWr> list,
                                         Doorbell doorbell) {
  if (state_ == State::kIdle || state_ == State::kConnecting) {
    return absl::FailedPreconditionError("send before the connection is up");
  }
  if (slots_ + list.size() > init_.max_send_wr) {
    return absl::ResourceExhaustedError("send queue full");
  }
  for (const SendWr& wr : list) {
    uint64_t bytes = 0;
    for (const Sge& sge : wr.sg_list) {
      bytes += sge.length;
      if (wr.flags & kInline) continue;
      auto it = channel_->fabric_->regions_.find(sge.lkey);
      if (sge.length > 0 &&
          (it == channel_->fabric_->regions_.end() ||
           !it->second->Allows(init_.pd,
                               reinterpret_cast<uint64_t>(sge.address),
                               sge.length, 0))) {
        return absl::InvalidArgumentError("bad lkey or range in a send");
      }
    }
    if (wr.sg_list.size() > init_.max_send_sge ||
        ((wr.flags & kInline) && bytes > init_.max_inline)) {
      return absl::InvalidArgumentError("too many entries or inline bytes");
    }
  }
  for (const SendWr& wr : list) {
    Send send;
    send.wr = wr;
    if (wr.flags & kInline) {
      for (const Sge& sge : wr.sg_list) {
        send.inline_data.insert(send.inline_data.end(), sge.address,
                                sge.address + sge.length);
      }
    } else {
      send.sges.assign(wr.sg_list.begin(), wr.sg_list.end());
    }
    send.wr.sg_list = {};
    sends_.push_back(std::move(send));
    ++slots_;
  }
  if (state_ != State::kEstablished) {
    FlushAll();
  } else if (doorbell == Doorbell::kNow) {
    Deliver();
  }
  return absl::OkStatus();
}

absl::Status LoopbackQueuePair::PostRecv(absl::Span<const RecvWr> list) {
  if (recvs_.size() + list.size() > init_.max_recv_wr) {
    return absl::ResourceExhaustedError("receive queue full");
  }
  for (const RecvWr& wr : list) {
    if (wr.length == 0) continue;
    auto it = channel_->fabric_->regions_.find(wr.lkey);
    if (it == channel_->fabric_->regions_.end() ||
        !it->second->Allows(init_.pd, reinterpret_cast<uint64_t>(wr.address),
                            wr.length, kLocalWrite)) {
      return absl::InvalidArgumentError("bad lkey or range in a receive");
    }
  }
  recvs_.insert(recvs_.end(), list.begin(), list.end());
  if (state_ == State::kError || state_ == State::kClosed) {
    FlushAll();
  } else if (peer_ != nullptr) {
    peer_->Deliver();
  }
  return absl::OkStatus();
}

void LoopbackQueuePair::Deliver() {
  while (state_ == State::kEstablished && !sends_.empty()) {
    bool waits = false;
    const WcStatus status = Execute(sends_.front(), &waits);
    if (waits) return;
    const Send send = std::move(sends_.front());
    sends_.pop_front();
    if (status != WcStatus::kSuccess || (send.wr.flags & kSignaled)) {
      slots_ = static_cast<uint32_t>(sends_.size());
      Complete(send.wr.wr_id, status,
               send.wr.opcode >= WrOpcode::kRdmaWrite ? WcOpcode::kRdmaWrite
                                                      : WcOpcode::kSend);
    }
    if (status != WcStatus::kSuccess) Leave();
  }
}

WcStatus LoopbackQueuePair::Execute(const Send& send, bool* waits) {
  const SendWr& wr = send.wr;
  std::vector<uint8_t> bytes = send.inline_data;
  for (const Sge& sge : send.sges) {
    auto it = channel_->fabric_->regions_.find(sge.lkey);
    if (sge.length > 0 && it == channel_->fabric_->regions_.end()) {
      return WcStatus::kLocalProtection;
    }
    bytes.insert(bytes.end(), sge.address, sge.address + sge.length);
  }
  const bool write = wr.opcode >= WrOpcode::kRdmaWrite;
  const bool takes_receive = wr.opcode != WrOpcode::kRdmaWrite;
  if (takes_receive && peer_->recvs_.empty()) {
    *waits = true;
    return WcStatus::kSuccess;
  }
  auto& regions = channel_->fabric_->regions_;
  if (write && !bytes.empty()) {
    auto it = regions.find(wr.rkey);
    if (it == regions.end() ||
        !it->second->Allows(peer_->init_.pd, wr.remote_address, bytes.size(),
                            kRemoteWrite)) {
      return WcStatus::kRemoteAccess;
    }
    std::memcpy(reinterpret_cast<void*>(wr.remote_address), bytes.data(),
                bytes.size());
  }
  if (!takes_receive) return WcStatus::kSuccess;

  const RecvWr recv = peer_->recvs_.front();
  peer_->recvs_.pop_front();
  WorkCompletion wc;
  wc.wr_id = recv.wr_id;
  wc.qp = peer_;
  wc.opcode = write ? WcOpcode::kRecvRdmaWithImm : WcOpcode::kRecv;
  wc.byte_len = static_cast<uint32_t>(bytes.size());
  if (!write) {
    if (bytes.size() > recv.length) {
      peer_->Complete(recv.wr_id, WcStatus::kLocalLength, WcOpcode::kRecv);
      return WcStatus::kRemoteInvalid;
    }
    if (!bytes.empty()) std::memcpy(recv.address, bytes.data(), bytes.size());
  }
  if (wr.opcode == WrOpcode::kSendWithImm ||
      wr.opcode == WrOpcode::kRdmaWriteWithImm) {
    wc.flags |= kWithImm;
    wc.imm = wr.imm;
  }
  if (wr.opcode == WrOpcode::kSendWithInv) {
    wc.flags |= kWithInv;
    wc.invalidated_rkey = wr.invalidate_rkey;
  }
  peer_->cq_->Push(wc);
  return WcStatus::kSuccess;
}

void LoopbackQueuePair::Complete(uint64_t wr_id, WcStatus status,
                                 WcOpcode opcode) {
  WorkCompletion wc;
  wc.wr_id = wr_id;
  wc.qp = this;
  wc.status = status;
  wc.opcode = opcode;
  cq_->Push(wc);
}

void LoopbackQueuePair::FlushAll() {
  while (!sends_.empty()) {
    const uint64_t wr_id = sends_.front().wr.wr_id;
    sends_.pop_front();
    Complete(wr_id, WcStatus::kFlushed, WcOpcode::kSend);
  }
  slots_ = 0;
  while (!recvs_.empty()) {
    const uint64_t wr_id = recvs_.front().wr_id;
    recvs_.pop_front();
    Complete(wr_id, WcStatus::kFlushed, WcOpcode::kRecv);
  }
}

void LoopbackQueuePair::Fail(CmEvent::Type type, const absl::Status& status,
                             absl::Span<const uint8_t> private_data) {
  state_ = State::kError;
  connect_deadline_ = absl::InfiniteFuture();
  FlushAll();
  CmEvent event;
  event.type = type;
  event.qp = this;
  event.status = status;
  event.private_data.assign(private_data.begin(), private_data.end());
  channel_->Push(std::move(event));
}

void LoopbackQueuePair::Leave() {
  if (request_ != nullptr) request_->Take();
  if (state_ == State::kEstablished || state_ == State::kConnecting) {
    Fail(CmEvent::Type::kDisconnected, ErrnoError(ECONNRESET, "disconnected"));
  }
  if (LoopbackQueuePair* peer = std::exchange(peer_, nullptr)) {
    peer->peer_ = nullptr;
    if (peer->state_ == State::kEstablished) {
      peer->Fail(CmEvent::Type::kDisconnected,
                 ErrnoError(ECONNRESET, "the peer disconnected"));
    }
  }
}

}  // namespace rtrs::fabric
