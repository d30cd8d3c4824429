// A queue pair of LoopbackFabric, and the request by which it connects.
#ifndef TESTS_SUPPORT_LOOPBACK_QUEUE_PAIR_H_
#define TESTS_SUPPORT_LOOPBACK_QUEUE_PAIR_H_

#include <errno.h>

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "rtrs/base/errno_status.h"
#include "tests/support/loopback_objects.h"

namespace rtrs::fabric {

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

}  // namespace rtrs::fabric

#endif  // TESTS_SUPPORT_LOOPBACK_QUEUE_PAIR_H_
