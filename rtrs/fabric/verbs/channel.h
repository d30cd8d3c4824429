// The event channel of the verbs fabric: everything one thread waits for.
//
// One epoll descriptor holds librdmacm's event channel, the completion channel
// of all completion queues, the device's asynchronous events, and an eventfd
// by which another thread hands over the asynchronous events it read. They are
// looked at after a sleep (that is, after Arm) and otherwise only every few
// rounds, since looking costs a system call.
//
// Single-threaded but for PostAsync.
#ifndef RTRS_FABRIC_VERBS_CHANNEL_H_
#define RTRS_FABRIC_VERBS_CHANNEL_H_

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "rtrs/base/epoll_fd.h"
#include "rtrs/base/event_fd.h"
#include "rtrs/base/mutex.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/verbs/cm_id.h"
#include "rtrs/fabric/verbs/completion_queue.h"
#include "rtrs/fabric/verbs/device.h"
#include "rtrs/fabric/verbs/queue_pair.h"

namespace rtrs::fabric::verbs {

class VerbsChannel : public EventChannel {
 public:
  static absl::StatusOr<std::unique_ptr<EventChannel>> Create(
      VerbsFabric* fabric);
  ~VerbsChannel() override;

  absl::StatusOr<std::unique_ptr<CompletionQueue>> CreateCq(
      uint32_t entries) override;
  absl::StatusOr<std::unique_ptr<QueuePair>> CreateQp(
      const QueuePairInit& init) override;
  absl::StatusOr<std::unique_ptr<Listener>> Listen(const SocketAddress& address,
                                                   int backlog) override;
  bool Progress() override;
  void Flush() override;
  bool NextEvent(CmEvent* event) override;
  int fd() const override { return epoll_.fd(); }
  bool Arm() override;
  absl::Time NextDeadline() const override;

  // For queue pairs, completion queues and listeners of this channel.
  VerbsFabric* fabric() const { return fabric_; }
  rdma_event_channel* cm_channel() const { return cm_channel_; }
  ibv_comp_channel* completion_channel() const { return completion_channel_; }
  void AddCq(VerbsCq* cq) { cqs_.insert(cq); }
  void RemoveCq(VerbsCq* cq) { cqs_.erase(cq); }
  void AddQueuePair(uint32_t qp_num, VerbsQueuePair* qp);
  void RemoveQueuePair(uint32_t qp_num, VerbsQueuePair* qp);
  VerbsQueuePair* FindQueuePair(uint32_t qp_num) const {
    auto it = queue_pairs_.find(qp_num);
    return it == queue_pairs_.end() ? nullptr : it->second;
  }
  void Push(CmEvent event) { events_.push_back(std::move(event)); }
  // `qp` has sends that wait for Flush.
  void MarkDirty(VerbsQueuePair* qp) { dirty_.push_back(qp); }
  // `qp` has, or no longer has, a deadline.
  void WatchDeadline(VerbsQueuePair* qp, bool on);

  // Any thread: `event` happened to the queue pair `qp_num` of this channel.
  void PostAsync(uint32_t qp_num, ibv_event_type event);

 private:
  explicit VerbsChannel(VerbsFabric* fabric) : fabric_(fabric) {}
  absl::Status Open();
  bool PollDescriptors();
  bool DrainCompletionEvents();
  bool DrainCmEvents();
  bool DrainAsync();

  VerbsFabric* const fabric_;
  rdma_event_channel* cm_channel_ = nullptr;
  ibv_comp_channel* completion_channel_ = nullptr;
  EventFd wake_;
  EpollFd epoll_;

  std::deque<CmEvent> events_;
  absl::flat_hash_map<uint32_t, VerbsQueuePair*> queue_pairs_;
  absl::flat_hash_set<VerbsCq*> cqs_;
  std::vector<VerbsQueuePair*> dirty_;
  absl::flat_hash_set<VerbsQueuePair*> with_deadline_;
  int rounds_ = 0;     // since the descriptors were looked at
  bool slept_ = true;  // Arm was called since

  rtrs::Mutex inbox_mutex_;
  std::vector<std::pair<uint32_t, ibv_event_type>> inbox_
      ABSL_GUARDED_BY(inbox_mutex_);
};

}  // namespace rtrs::fabric::verbs

#endif  // RTRS_FABRIC_VERBS_CHANNEL_H_
