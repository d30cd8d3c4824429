// A completion queue over one or more of the device's.
//
// A device's completion queue has few entries (32767 on soft RoCE), fewer than
// the queue pairs of one thread may need together. So each queue pair is given
// to a shard that has room for all its work requests, and shards are added as
// needed: none can overflow.
//
// Belongs to its channel's thread.
#ifndef RTRS_FABRIC_VERBS_COMPLETION_QUEUE_H_
#define RTRS_FABRIC_VERBS_COMPLETION_QUEUE_H_

#include <infiniband/verbs.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "rtrs/fabric/fabric.h"

namespace rtrs::fabric::verbs {

class VerbsChannel;

// One completion queue of the device.
struct CqShard {
  ~CqShard();
  ibv_cq* cq = nullptr;
  uint32_t entries = 0;
  uint32_t reserved = 0;  // by queue pairs
  // Asked for an event that has not come yet.
  bool armed = false;
};

class VerbsCq : public CompletionQueue {
 public:
  VerbsCq(VerbsChannel* channel, uint32_t entries);
  ~VerbsCq() override;

  int Poll(absl::Span<WorkCompletion> out) override;

  // A shard with room for `entries` more, which are then taken.
  absl::StatusOr<CqShard*> Reserve(uint32_t entries);
  static void Release(CqShard* shard, uint32_t entries) {
    shard->reserved -= entries;
  }
  // Asks for an event on each shard; false if completions wait already.
  bool Arm();
  // A completion that the device did not make.
  void Push(const WorkCompletion& wc) { stash_.push_back(wc); }
  // Drops what was not polled of `qp`, which the device no longer knows.
  void Forget(const QueuePair* qp, CqShard* shard);

 private:
  // Moves up to `max` completions of `shard` to the stash.
  bool Fetch(CqShard* shard);

  VerbsChannel* channel_;
  const uint32_t entries_;  // of a new shard
  std::vector<std::unique_ptr<CqShard>> shards_;
  size_t next_ = 0;  // shard to poll first
  std::deque<WorkCompletion> stash_;
};

}  // namespace rtrs::fabric::verbs

#endif  // RTRS_FABRIC_VERBS_COMPLETION_QUEUE_H_
