// Memory, completion queues, listeners and channels of LoopbackFabric.
#ifndef TESTS_SUPPORT_LOOPBACK_OBJECTS_H_
#define TESTS_SUPPORT_LOOPBACK_OBJECTS_H_

#include <errno.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/event_fd.h"
#include "tests/support/loopback_fabric.h"

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
inline void LoopbackCq::Push(const WorkCompletion& wc) {
  entries_.push_back(wc);
  channel_->Wake();
}

}  // namespace rtrs::fabric

#endif  // TESTS_SUPPORT_LOOPBACK_OBJECTS_H_
