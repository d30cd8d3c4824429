#include "rtrs/fabric/verbs/completion_queue.h"

#include <errno.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/fabric/verbs/channel.h"
#include "rtrs/fabric/verbs/device.h"
#include "rtrs/fabric/verbs/queue_pair.h"
#include "rtrs/fabric/verbs/translate.h"

namespace rtrs::fabric::verbs {

CqShard::~CqShard() {
  if (cq == nullptr) return;
  if (const int error = ibv_destroy_cq(cq); error != 0) {
    RTRS_LOG(err, "{}", ErrnoError(error, "ibv_destroy_cq"));
  }
}

VerbsCq::VerbsCq(VerbsChannel* channel, uint32_t entries)
    : channel_(channel), entries_(entries) {
  channel_->AddCq(this);
}

VerbsCq::~VerbsCq() {
  // Events that name a shard are acknowledged as they are read, so that
  // destroying it does not wait.
  channel_->RemoveCq(this);
}

absl::StatusOr<CqShard*> VerbsCq::Reserve(uint32_t entries) {
  for (const auto& shard : shards_) {
    if (shard->entries - shard->reserved >= entries) {
      shard->reserved += entries;
      return shard.get();
    }
  }
  VerbsFabric* fabric = channel_->fabric();
  const uint32_t most = fabric->device().max_cqe;
  if (entries > most) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a queue pair with ", entries,
        " work requests: ", fabric->device().name, " has completion queues of ",
        most, " entries; use a smaller queue depth"));
  }
  auto shard = std::make_unique<CqShard>();
  shard->entries = std::min(std::max(entries, entries_), most);
  shard->cq = ibv_create_cq(fabric->context(), static_cast<int>(shard->entries),
                            shard.get(), channel_->completion_channel(),
                            fabric->NextCompletionVector());
  if (shard->cq == nullptr) {
    return ErrnoError(errno,
                      absl::StrCat("completion queue of ", shard->entries,
                                   " entries on ", fabric->device().name));
  }
  shard->reserved = entries;
  shards_.push_back(std::move(shard));
  return shards_.back().get();
}

int VerbsCq::Poll(absl::Span<WorkCompletion> out) {
  size_t filled = 0;
  while (filled < out.size() && !stash_.empty()) {
    out[filled++] = stash_.front();
    stash_.pop_front();
  }
  for (size_t i = 0; i < shards_.size() && filled < out.size(); ++i) {
    if (++next_ >= shards_.size()) next_ = 0;
    std::array<ibv_wc, 32> wcs;
    while (filled < out.size()) {
      const int want =
          static_cast<int>(std::min(wcs.size(), out.size() - filled));
      const int got = ibv_poll_cq(shards_[next_]->cq, want, wcs.data());
      if (got < 0) {
        RTRS_LOG_EVERY(err, absl::Seconds(5), "polling a completion queue: {}",
                       got);
        break;
      }
      for (int j = 0; j < got; ++j) {
        VerbsQueuePair* qp = channel_->FindQueuePair(wcs[j].qp_num);
        if (qp == nullptr) continue;  // destroyed meanwhile
        if (qp->OnCompletion(wcs[j])) {
          out[filled++] = TranslateCompletion(wcs[j], qp);
        }
      }
      if (got < want) break;
    }
  }
  return static_cast<int>(filled);
}

bool VerbsCq::Fetch(CqShard* shard) {
  std::array<ibv_wc, 32> wcs;
  const int got =
      ibv_poll_cq(shard->cq, static_cast<int>(wcs.size()), wcs.data());
  for (int i = 0; i < got; ++i) {
    VerbsQueuePair* qp = channel_->FindQueuePair(wcs[i].qp_num);
    if (qp != nullptr && qp->OnCompletion(wcs[i])) {
      stash_.push_back(TranslateCompletion(wcs[i], qp));
    }
  }
  return got > 0;
}

bool VerbsCq::Arm() {
  if (!stash_.empty()) return false;
  bool idle = true;
  for (const auto& shard : shards_) {
    if (!shard->armed) {
      if (const int error = ibv_req_notify_cq(shard->cq, 0); error != 0) {
        RTRS_LOG_EVERY(err, absl::Seconds(5), "{}",
                       ErrnoError(error, "ibv_req_notify_cq"));
        return false;
      }
      shard->armed = true;
    }
    // What came before the request raises no event.
    if (Fetch(shard.get())) idle = false;
  }
  return idle;
}

void VerbsCq::Forget(const QueuePair* qp, CqShard* shard) {
  // Its number may be given out again: nothing of the old one may be left.
  for (uint32_t seen = 0; seen <= shard->entries && Fetch(shard); ++seen) {
  }
  std::erase_if(stash_, [qp](const WorkCompletion& wc) { return wc.qp == qp; });
}

}  // namespace rtrs::fabric::verbs
