#include "tests/support/loopback_fabric.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "rtrs/base/clock.h"
#include "rtrs/base/status_macros.h"
#include "tests/support/loopback_objects.h"
#include "tests/support/loopback_queue_pair.h"

namespace rtrs::fabric {

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
