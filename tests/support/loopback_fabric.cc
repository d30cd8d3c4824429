#include "tests/support/loopback_fabric.h"

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/event_fd.h"
#include "rtrs/base/status_macros.h"

namespace rtrs::fabric {

class LoopbackRegion : public MemoryRegion {
 public:
  LoopbackRegion(LoopbackFabric* fabric, ProtectionDomain* pd, void* address,
                 size_t length, uint32_t access)
      : fabric_(fabric), pd_(pd), access_(access) {
    address_ = static_cast<uint8_t*>(address);
    length_ = length;
    remote_address_ = reinterpret_cast<uint64_t>(address);
    do {
      rkey_ = lkey_ = fabric->random_.Uint32();
    } while (rkey_ == 0 || fabric->regions_.contains(rkey_));
    fabric->regions_[rkey_] = this;
  }
  ~LoopbackRegion() override { fabric_->regions_.erase(rkey_); }

  bool Allows(const ProtectionDomain* pd, uint64_t address, uint64_t length,
              uint32_t access) const {
    return pd == pd_ && (access_ & access) == access &&
           address >= remote_address_ && length <= length_ &&
           address - remote_address_ <= length_ - length;
  }

 private:
  LoopbackFabric* fabric_;
  ProtectionDomain* pd_;
  uint32_t access_;
};

class LoopbackPd : public ProtectionDomain {
 public:
  explicit LoopbackPd(LoopbackFabric* fabric) : fabric_(fabric) {}
  absl::StatusOr<std::unique_ptr<MemoryRegion>> RegisterMemory(
      void* address, size_t length, uint32_t access) override {
    return std::make_unique<LoopbackRegion>(fabric_, this, address, length,
                                            access);
  }

 private:
  LoopbackFabric* fabric_;
};

class LoopbackCq : public CompletionQueue {
 public:
  explicit LoopbackCq(LoopbackChannel* channel) : channel_(channel) {}
  int Poll(absl::Span<WorkCompletion> out) override {
    const size_t n = std::min(out.size(), entries_.size());
    std::copy_n(entries_.begin(), n, out.begin());
    entries_.erase(entries_.begin(), entries_.begin() + static_cast<long>(n));
    return static_cast<int>(n);
  }
  void Push(const WorkCompletion& wc);
  void Forget(const QueuePair* qp) {
    std::erase_if(entries_,
                  [qp](const WorkCompletion& wc) { return wc.qp == qp; });
  }
  bool empty() const { return entries_.empty(); }

 private:
  LoopbackChannel* channel_;
  std::deque<WorkCompletion> entries_;
};

class LoopbackListener : public Listener {
 public:
  LoopbackListener(LoopbackFabric* fabric, LoopbackChannel* channel,
                   const SocketAddress& address)
      : fabric_(fabric), channel_(channel), address_(address) {
    fabric_->listeners_[address_.ToString()] = this;
  }
  ~LoopbackListener() override {
    fabric_->listeners_.erase(address_.ToString());
  }
  const SocketAddress& local_address() const override { return address_; }
  LoopbackChannel* channel() const { return channel_; }

 private:
  LoopbackFabric* fabric_;
  LoopbackChannel* channel_;
  SocketAddress address_;
};

class LoopbackChannel : public EventChannel {
 public:
  LoopbackChannel(LoopbackFabric* fabric, EventFd wake)
      : fabric_(fabric), wake_(std::move(wake)) {}

  absl::StatusOr<std::unique_ptr<CompletionQueue>> CreateCq(
      uint32_t /*entries*/) override {
    auto cq = std::make_unique<LoopbackCq>(this);
    return cq;
  }
  absl::StatusOr<std::unique_ptr<QueuePair>> CreateQp(
      const QueuePairInit& init) override;
  absl::StatusOr<std::unique_ptr<Listener>> Listen(const SocketAddress& address,
                                                   int /*backlog*/) override {
    SocketAddress bound = address;
    if (bound.port() == 0) bound.set_port(fabric_->next_port_++);
    if (fabric_->listeners_.contains(bound.ToString())) {
      return ErrnoError(EADDRINUSE,
                        absl::StrCat("listen on ", bound.ToString()));
    }
    return std::make_unique<LoopbackListener>(fabric_, this, bound);
  }
  bool Progress() override;
  void Flush() override;
  bool NextEvent(CmEvent* event) override {
    if (events_.empty()) return false;
    *event = std::move(events_.front());
    events_.pop_front();
    return true;
  }
  int fd() const override { return wake_.fd(); }
  bool Arm() override { return !wake_.Clear() && events_.empty(); }
  absl::Time NextDeadline() const override;

  void Push(CmEvent event) {
    events_.push_back(std::move(event));
    Wake();
  }
  void Wake() {
    wake_.Raise();
    woken_ = true;
  }
  void Forget(const QueuePair* qp) {
    std::erase_if(events_, [qp](const CmEvent& e) { return e.qp == qp; });
  }

  LoopbackFabric* fabric_;
  std::vector<class LoopbackQueuePair*> queue_pairs_;

 private:
  const EventFd wake_;
  bool woken_ = false;
  std::deque<CmEvent> events_;
};

void LoopbackCq::Push(const WorkCompletion& wc) {
  entries_.push_back(wc);
  channel_->Wake();
}

class LoopbackRequest;

class LoopbackQueuePair : public QueuePair {
 public:
  LoopbackQueuePair(LoopbackChannel* channel, const QueuePairInit& init)
      : channel_(channel), init_(init), cq_(static_cast<LoopbackCq*>(init.cq)) {
    context_ = init.context;
    channel_->queue_pairs_.push_back(this);
    ++channel_->fabric_->queue_pairs_;
  }
  ~LoopbackQueuePair() override {
    Leave();
    cq_->Forget(this);
    channel_->Forget(this);
    std::erase(channel_->queue_pairs_, this);
    --channel_->fabric_->queue_pairs_;
  }

  absl::Status Connect(const PathSpec& path,
                       absl::Span<const uint8_t> private_data,
                       absl::Duration timeout) override;
  absl::Status Accept(std::unique_ptr<ConnectRequest> request,
                      absl::Span<const uint8_t> private_data) override;
  void Disconnect() override {
    Deliver();
    Leave();
  }
  absl::Status PostSend(absl::Span<const SendWr> list,
                        Doorbell doorbell) override;
  absl::Status PostRecv(absl::Span<const RecvWr> list) override;

  State state() const override { return state_; }
  const SocketAddress& local_address() const override { return local_; }
  const SocketAddress& peer_address() const override { return peer_address_; }

  // Sends what waits as far as the peer has receives.
  void Deliver();
  // Ends the connection on both sides.
  void Leave();
  void CheckTimeout(absl::Time now) {
    if (state_ != State::kConnecting || now < connect_deadline_) return;
    Fail(CmEvent::Type::kConnectError, ErrnoError(ETIMEDOUT, "connect"));
  }
  // Moves to kError, flushes, and raises `type`.
  void Fail(CmEvent::Type type, const absl::Status& status,
            absl::Span<const uint8_t> private_data = {});

 private:
  friend class LoopbackRequest;
  friend class LoopbackChannel;
  struct Send {
    SendWr wr;
    std::vector<Sge> sges;
    std::vector<uint8_t> inline_data;
  };

  WcStatus Execute(const Send& send, bool* waits);
  void Complete(uint64_t wr_id, WcStatus status, WcOpcode opcode);
  void FlushAll();

  LoopbackChannel* channel_;
  QueuePairInit init_;
  LoopbackCq* cq_;
  State state_ = State::kIdle;
  SocketAddress local_;
  SocketAddress peer_address_;
  LoopbackQueuePair* peer_ = nullptr;
  LoopbackRequest* request_ = nullptr;  // of ours, not answered yet
  absl::Time connect_deadline_ = absl::InfiniteFuture();
  std::deque<Send> sends_;
  std::deque<RecvWr> recvs_;
  // Slots of the send queue that no signalled completion has freed yet.
  uint32_t slots_ = 0;
};

class LoopbackRequest : public ConnectRequest {
 public:
  LoopbackRequest(LoopbackQueuePair* active, const SocketAddress& local,
                  const SocketAddress& peer, absl::Span<const uint8_t> data)
      : active_(active),
        local_(local),
        peer_(peer),
        data_(data.begin(), data.end()) {
    active_->request_ = this;
  }
  ~LoopbackRequest() override {
    if (active_ != nullptr) Reject({});
  }
  const SocketAddress& local_address() const override { return local_; }
  const SocketAddress& peer_address() const override { return peer_; }
  absl::Span<const uint8_t> private_data() const override { return data_; }
  void Reject(absl::Span<const uint8_t> private_data) override {
    LoopbackQueuePair* active = Take();
    if (active == nullptr) return;
    active->Fail(CmEvent::Type::kRejected, ErrnoError(ECONNREFUSED, "rejected"),
                 private_data);
  }
  LoopbackQueuePair* Take() {
    LoopbackQueuePair* active = std::exchange(active_, nullptr);
    if (active != nullptr) active->request_ = nullptr;
    return active;
  }

 private:
  LoopbackQueuePair* active_;
  SocketAddress local_;
  SocketAddress peer_;
  std::vector<uint8_t> data_;
};

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

absl::StatusOr<std::unique_ptr<QueuePair>> LoopbackChannel::CreateQp(
    const QueuePairInit& init) {
  if (init.pd == nullptr || init.cq == nullptr || init.max_send_wr == 0) {
    return absl::InvalidArgumentError("queue pair without pd, cq or sends");
  }
  return std::make_unique<LoopbackQueuePair>(this, init);
}

bool LoopbackChannel::Progress() {
  Flush();
  const absl::Time now = Clock::System()->Now();
  for (LoopbackQueuePair* qp : std::vector(queue_pairs_)) qp->CheckTimeout(now);
  return std::exchange(woken_, false);
}

void LoopbackChannel::Flush() {
  for (LoopbackQueuePair* qp : std::vector(queue_pairs_)) qp->Deliver();
}

absl::Time LoopbackChannel::NextDeadline() const {
  absl::Time first = absl::InfiniteFuture();
  for (const LoopbackQueuePair* qp : queue_pairs_) {
    first = std::min(first, qp->connect_deadline_);
  }
  return first;
}

LoopbackFabric::LoopbackFabric(uint64_t seed, bool cheap_registration)
    : random_(seed) {
  device_.name = "loopback";
  device_.max_qp_wr = 1 << 20;
  device_.max_send_sge = 8;
  device_.max_cqe = 1 << 22;
  device_.max_inline = 512;
  device_.max_message_size = 1 << 30;
  device_.cheap_registration = cheap_registration;
  device_.send_with_invalidate = true;
}

absl::StatusOr<std::unique_ptr<ProtectionDomain>> LoopbackFabric::AllocPd() {
  return std::make_unique<LoopbackPd>(this);
}

absl::StatusOr<std::unique_ptr<EventChannel>>
LoopbackFabric::CreateEventChannel() {
  RTRS_ASSIGN_OR_RETURN(EventFd wake, EventFd::Create());
  return std::make_unique<LoopbackChannel>(this, std::move(wake));
}

void LoopbackFabric::Cut(QueuePair* qp) {
  static_cast<LoopbackQueuePair*>(qp)->Leave();
}

}  // namespace rtrs::fabric
