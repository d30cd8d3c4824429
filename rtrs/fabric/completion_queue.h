// A completion queue in memory: a ring of fixed size, of the in-process
// fabrics. One thread at a time. spec/iwarp.md §4.6.
//
// A completion carries how many slots of its queue pair's work queue come free
// when it is polled, as on hardware.
#ifndef RTRS_FABRIC_COMPLETION_QUEUE_H_
#define RTRS_FABRIC_COMPLETION_QUEUE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "rtrs/fabric/fabric.h"

namespace rtrs::fabric {

class Cq : public CompletionQueue {
 public:
  // Calls `destroyed` when it goes.
  Cq(uint32_t entries, std::function<void(Cq*)> destroyed);
  ~Cq() override;

  int Poll(absl::Span<WorkCompletion> out) override;

  // Takes a completion; `*slots` shrinks by `freed` when it is polled. False
  // if the queue is full: the completion is lost, the queue pair must fail.
  bool Push(const WorkCompletion& wc, uint32_t* slots, uint32_t freed);
  // Drops the completions of `qp`.
  void Forget(const QueuePair* qp);
  bool empty() const { return head_ == tail_; }

 private:
  struct Entry {
    WorkCompletion wc;
    uint32_t* slots = nullptr;
    uint32_t freed = 0;
  };
  std::vector<Entry> ring_;
  uint64_t head_ = 0;  // the oldest
  uint64_t tail_ = 0;
  uint64_t mask_;
  uint32_t entries_;
  std::function<void(Cq*)> destroyed_;
};

}  // namespace rtrs::fabric

#endif  // RTRS_FABRIC_COMPLETION_QUEUE_H_
