#include "rtrs/fabric/softroce/channel.h"

#include <errno.h>
#include <sys/epoll.h>

#include <algorithm>

#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/softroce/device_limits.h"
#include "rtrs/fabric/softroce/engine.h"
#include "rtrs/fabric/softroce/listener.h"
#include "rtrs/fabric/softroce/queue_pair.h"

namespace rtrs::softroce {

RoceCq::~RoceCq() {
  MutexLock lock(channel_->host()->mutex());
  channel_->Remove(this);
}

int RoceCq::Poll(absl::Span<fabric::WorkCompletion> out) {
  if (!filled_.load(std::memory_order_relaxed)) return 0;
  MutexLock lock(channel_->host()->mutex());
  const int n = ring_.Poll(out);
  if (ring_.empty()) filled_.store(false, std::memory_order_relaxed);
  return n;
}

bool RoceCq::Push(const fabric::WorkCompletion& wc, uint32_t* slots,
                  uint32_t freed) {
  filled_.store(true, std::memory_order_relaxed);
  channel_->NoteWork();
  return ring_.Push(wc, slots, freed);
}

void RoceCq::Forget(const fabric::QueuePair* qp) { ring_.Forget(qp); }

Channel::Channel(Host* host, fabric::RegionTable* regions,
                 const SoftroceOptions& options, EpollFd epoll, EventFd wake)
    : host_(host),
      regions_(regions),
      options_(options),
      epoll_(std::move(epoll)),
      wake_(std::move(wake)) {
  MutexLock lock(host_->mutex());
  host_->AddChannel(this);
}

Channel::~Channel() {
  std::deque<fabric::CmEvent> unheard;
  {
    MutexLock lock(host_->mutex());
    host_->Send(/*acks=*/true);
    unheard.swap(events_);
  }
  // Requests that nobody took are rejected, which needs the mutex.
  unheard.clear();
  MutexLock lock(host_->mutex());
  host_->RemoveChannel(this);
}

absl::StatusOr<std::unique_ptr<fabric::CompletionQueue>> Channel::CreateCq(
    uint32_t entries) {
  RTRS_RETURN_IF_ERROR(fabric::CheckCqInit(kDeviceLimits, entries));
  auto cq = std::make_unique<RoceCq>(this, entries);
  MutexLock lock(host_->mutex());
  cqs_.push_back(cq.get());
  return cq;
}

absl::StatusOr<std::unique_ptr<fabric::QueuePair>> Channel::CreateQp(
    const fabric::QueuePairInit& init) {
  RTRS_RETURN_IF_ERROR(fabric::CheckQpInit(kDeviceLimits, init));
  return std::make_unique<Qp>(this, init);
}

absl::StatusOr<std::unique_ptr<fabric::Listener>> Channel::Listen(
    const SocketAddress& address, int /*backlog*/) {
  auto listener = RoceListener::Create(this, address);
  if (!listener.ok()) {
    const absl::Status& status = listener.status();
    if (options_.optional && ErrnoOf(status) == EADDRINUSE) {
      return ErrnoError(ENODEV, status.message());
    }
    return status;
  }
  return *std::move(listener);
}

bool Channel::Progress() {
  MutexLock lock(host_->mutex());
  armed_ = false;
  if (kicked_) Unkick();
  // What is still owed would wait for the whole round.
  host_->Send(/*acks=*/true);
  const absl::Time now = host_->clock()->Now();
  bool busy = host_->Poll(now);
  if (!timers_.empty() && timers_.begin()->first.first <= now) {
    busy |= RunTimers(now);
  }
  host_->Send(/*acks=*/false);
  return std::exchange(work_, false) || busy;
}

bool Channel::RunTimers(absl::Time now) {
  bool ran = false;
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    Qp* qp = timers_.begin()->second;
    timers_.erase(timers_.begin());
    qp->timer_ = {absl::InfiniteFuture(), 0};
    qp->OnTimer(now);
    ran = true;
  }
  return ran;
}

void Channel::Flush() {
  MutexLock lock(host_->mutex());
  if (!dirty_.empty()) {
    const absl::Time now = host_->clock()->Now();
    for (Qp* qp : std::exchange(dirty_, {})) qp->FlushSends(now);
  }
  host_->Send(/*acks=*/true);
}

bool Channel::NextEvent(fabric::CmEvent* event) {
  if (!has_events_.load(std::memory_order_relaxed)) return false;
  fabric::CmEvent next;
  {
    MutexLock lock(host_->mutex());
    if (events_.empty()) return false;
    next = std::move(events_.front());
    events_.pop_front();
    has_events_.store(!events_.empty(), std::memory_order_relaxed);
  }
  // What `event` held before may be a request, whose end needs the mutex.
  *event = std::move(next);
  return true;
}

bool Channel::Arm() {
  MutexLock lock(host_->mutex());
  host_->Send(/*acks=*/true);
  armed_ = !work_ && events_.empty() && dirty_.empty() &&
           std::all_of(cqs_.begin(), cqs_.end(),
                       [](const RoceCq* cq) { return cq->empty(); });
  return armed_;
}

absl::Time Channel::NextDeadline() const {
  MutexLock lock(host_->mutex());
  const absl::Time own =
      timers_.empty() ? absl::InfiniteFuture() : timers_.begin()->first.first;
  return std::min(own, host_->NextDeadline());
}

void Channel::Watch(Engine* engine) {
  if (engine->socket()->fd() < 0) return;
  const absl::Status status = epoll_.Watch(engine->socket()->fd(), EPOLLIN);
  if (!status.ok()) RTRS_LOG(err, "softroce: {}", status);
}

void Channel::PushEvent(fabric::CmEvent event) {
  events_.push_back(std::move(event));
  has_events_.store(true, std::memory_order_relaxed);
  NoteWork();
}

void Channel::NoteWork() {
  work_ = true;
  if (!armed_ || kicked_) return;
  kicked_ = true;
  wake_.Raise();
}

void Channel::Unkick() {
  wake_.Clear();
  kicked_ = false;
}

void Channel::SetTimer(Qp* qp, absl::Time deadline) {
  if (deadline >= qp->timer_.first) return;
  timers_.erase(qp->timer_);
  qp->timer_ = {deadline, ++timer_count_};
  timers_[qp->timer_] = qp;
}

void Channel::Forget(Qp* qp) {
  timers_.erase(qp->timer_);
  std::erase(dirty_, qp);
  std::erase_if(events_, [qp](const fabric::CmEvent& e) { return e.qp == qp; });
}

}  // namespace rtrs::softroce
