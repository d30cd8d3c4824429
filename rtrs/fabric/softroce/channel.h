// The event channel of one thread, and its completion queues. fabric.h.
//
// It sleeps on an epoll descriptor that watches the sockets of all engines and
// an eventfd: when another thread's polling brings something for a channel
// that may be asleep, it writes to that. Functions for the objects of the
// channel are called with the Host's mutex held.
#ifndef RTRS_FABRIC_SOFTROCE_CHANNEL_H_
#define RTRS_FABRIC_SOFTROCE_CHANNEL_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rtrs/base/epoll_fd.h"
#include "rtrs/base/event_fd.h"
#include "rtrs/fabric/completion_queue.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/region_table.h"
#include "rtrs/fabric/softroce/host.h"
#include "rtrs/fabric/softroce/softroce.h"

namespace rtrs::softroce {

class Channel;
class Engine;
class Qp;

class RoceCq : public fabric::CompletionQueue {
 public:
  RoceCq(Channel* channel, uint32_t entries)
      : channel_(channel), ring_(entries, [](fabric::Cq*) {}) {}
  ~RoceCq() override;
  int Poll(absl::Span<fabric::WorkCompletion> out) override;

  // With the mutex; as fabric::Cq.
  bool Push(const fabric::WorkCompletion& wc, uint32_t* slots, uint32_t freed);
  void Forget(const fabric::QueuePair* qp);
  bool empty() const { return ring_.empty(); }

 private:
  Channel* const channel_;
  fabric::Cq ring_;
  // Whether to look at all, without the mutex.
  std::atomic<bool> filled_{false};
};

class Channel : public fabric::EventChannel {
 public:
  // Both descriptors belong to it from now on.
  Channel(Host* host, fabric::RegionTable* regions,
          const SoftroceOptions& options, EpollFd epoll, EventFd wake);
  ~Channel() override;

  absl::StatusOr<std::unique_ptr<fabric::CompletionQueue>> CreateCq(
      uint32_t entries) override;
  absl::StatusOr<std::unique_ptr<fabric::QueuePair>> CreateQp(
      const fabric::QueuePairInit& init) override;
  absl::StatusOr<std::unique_ptr<fabric::Listener>> Listen(
      const SocketAddress& address, int backlog) override;
  bool Progress() override;
  void Flush() override;
  bool NextEvent(fabric::CmEvent* event) override;
  int fd() const override { return epoll_.fd(); }
  bool Arm() override;
  absl::Time NextDeadline() const override;

  Host* host() const { return host_; }
  fabric::RegionTable* regions() const { return regions_; }
  void Watch(Engine* engine);
  void PushEvent(fabric::CmEvent event);
  // Something came for the thread of this channel.
  void NoteWork();
  // `qp` wants OnTimer at `deadline`; later is found out then.
  void SetTimer(Qp* qp, absl::Time deadline);
  // Posted with Doorbell::kDeferred.
  void AddDirty(Qp* qp) { dirty_.push_back(qp); }
  void Forget(Qp* qp);
  void Remove(RoceCq* cq) { std::erase(cqs_, cq); }

 private:
  bool RunTimers(absl::Time now);
  // Clears wake_.
  void Unkick();

  Host* const host_;
  fabric::RegionTable* const regions_;
  const SoftroceOptions options_;
  const EpollFd epoll_;
  const EventFd wake_;
  std::deque<fabric::CmEvent> events_;
  std::atomic<bool> has_events_{false};
  // The number makes the order of equal times repeatable.
  std::map<std::pair<absl::Time, uint64_t>, Qp*> timers_;
  uint64_t timer_count_ = 0;
  std::vector<RoceCq*> cqs_;
  std::vector<Qp*> dirty_;
  bool work_ = false;    // something came since the last Progress
  bool armed_ = false;   // its thread may be asleep
  bool kicked_ = false;  // wake_ is raised
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_CHANNEL_H_
