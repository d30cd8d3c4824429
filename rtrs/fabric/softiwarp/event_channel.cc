#include "rtrs/fabric/softiwarp/event_channel.h"

#include <algorithm>
#include <array>

#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/softiwarp/device_limits.h"
#include "rtrs/fabric/softiwarp/lingering_stream.h"
#include "rtrs/fabric/softiwarp/listener.h"
#include "rtrs/fabric/softiwarp/queue_pair.h"

namespace rtrs::fabric::softiwarp {
namespace {

// Up to here, asking each connection is cheaper than asking the poller first.
constexpr size_t kDirectLimit = 2;
// While connections are busy, the rare sources get their turn that often.
constexpr uint32_t kRareTurns = 16;

}  // namespace

void Mailbox::Put(Letter letter) {
  MutexLock lock(&mutex_);
  if (poller_ == nullptr) return;
  letters_.push_back(std::move(letter));
  has_mail_.store(true, std::memory_order_relaxed);
  poller_->Wake();
}

std::vector<Mailbox::Letter> Mailbox::Take() {
  MutexLock lock(&mutex_);
  has_mail_.store(false, std::memory_order_relaxed);
  return std::exchange(letters_, {});
}

void Mailbox::Close() {
  MutexLock lock(&mutex_);
  poller_ = nullptr;
  letters_.clear();
}

Channel::Channel(Core* core, std::unique_ptr<Poller> poller)
    : core_(core),
      poller_(std::move(poller)),
      mailbox_(std::make_shared<Mailbox>(poller_.get())) {}

Channel::~Channel() {
  mailbox_->Close();
  lingering_.clear();
  graveyard_.clear();
}

absl::StatusOr<std::unique_ptr<CompletionQueue>> Channel::CreateCq(
    uint32_t entries) {
  RTRS_RETURN_IF_ERROR(CheckCqInit(kDeviceLimits, entries));
  auto cq = std::make_unique<Cq>(entries,
                                 [this](Cq* gone) { std::erase(cqs_, gone); });
  cqs_.push_back(cq.get());
  return cq;
}

absl::StatusOr<std::unique_ptr<QueuePair>> Channel::CreateQp(
    const QueuePairInit& init) {
  RTRS_RETURN_IF_ERROR(CheckQpInit(kDeviceLimits, init));
  return std::make_unique<Qp>(this, init);
}

absl::StatusOr<std::unique_ptr<Listener>> Channel::Listen(
    const SocketAddress& address, int backlog) {
  RTRS_ASSIGN_OR_RETURN(auto acceptor,
                        core_->transport->Listen(address, backlog));
  auto listener = std::make_unique<IwarpListener>(this, std::move(acceptor));
  RTRS_RETURN_IF_ERROR(listener->Start());
  return listener;
}

bool Channel::Progress() {
  bool busy = false;
  const bool woken = std::exchange(armed_, false);
  if (mailbox_->has_mail()) busy |= ReadMail();
  if (!resumable_.empty()) busy |= Resume();
  const bool direct = reading_.size() <= kDirectLimit;
  if (direct) {
    for (size_t i = 0; i < reading_.size();) {
      Qp* qp = reading_[i];
      busy |= qp->Read();
      // It leaves the list when it fails.
      if (i < reading_.size() && reading_[i] == qp) ++i;
    }
  }
  // A wake-up that nothing explains is the poller's own: it must see it, or
  // the next sleep ends at once.
  if (!direct || blocked_ > 0 || (woken && !busy) ||
      (rare_ > 0 && (!busy || ++turn_ % kRareTurns == 0))) {
    busy |= PollSources();
  }
  if (!timers_.empty()) busy |= RunTimers();
  graveyard_.clear();
  return busy;
}

bool Channel::PollSources() {
  std::array<Poller::Ready, 64> ready;
  const int n = poller_->Poll(absl::MakeSpan(ready));
  for (int i = 0; i < n; ++i) {
    const Poller::Ready& r = ready[static_cast<size_t>(i)];
    static_cast<EventSource*>(r.tag)->OnReady(r.interest);
  }
  return n > 0;
}

bool Channel::RunTimers() {
  const absl::Time now = core_->clock->Now();
  bool ran = false;
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    EventSource* source = timers_.begin()->second;
    CancelTimer(source);
    source->OnTimer();
    ran = true;
  }
  return ran;
}

bool Channel::Resume() {
  for (Qp* qp : std::exchange(resumable_, {})) qp->Resume();
  return true;
}

bool Channel::ReadMail() {
  for (Mailbox::Letter& letter : mailbox_->Take()) {
    Linger(std::move(letter.stream), std::move(letter.last_words));
  }
  return true;
}

void Channel::Flush() {
  // Sending raises no calls from outside, so nothing is added meanwhile.
  for (Qp* qp : dirty_) qp->FlushSends();
  dirty_.clear();
}

bool Channel::NextEvent(CmEvent* event) {
  if (events_.empty()) return false;
  *event = std::move(events_.front());
  events_.pop_front();
  return true;
}

bool Channel::Arm() {
  armed_ = events_.empty() && dirty_.empty() && resumable_.empty() &&
           !mailbox_->has_mail() &&
           std::all_of(cqs_.begin(), cqs_.end(),
                       [](const Cq* cq) { return cq->empty(); });
  return armed_;
}

absl::Time Channel::NextDeadline() const {
  return timers_.empty() ? absl::InfiniteFuture()
                         : timers_.begin()->first.first;
}

void Channel::SetTimer(EventSource* source, absl::Duration after) {
  CancelTimer(source);
  source->timer_ = {core_->clock->Now() + after, ++timer_count_};
  timers_[source->timer_] = source;
}

void Channel::CancelTimer(EventSource* source) {
  if (source->timer_.second == 0) return;
  timers_.erase(source->timer_);
  source->timer_ = {absl::InfiniteFuture(), 0};
}

void Channel::Forget(Qp* qp) {
  CancelTimer(qp);
  std::erase(dirty_, qp);
  std::erase(resumable_, qp);
  std::erase_if(events_, [qp](const CmEvent& e) { return e.qp == qp; });
}

void Channel::Linger(std::unique_ptr<ByteStream> stream,
                     std::vector<uint8_t> last_words) {
  auto lingering = std::make_unique<LingeringStream>(this, std::move(stream),
                                                     std::move(last_words));
  if (!lingering->done()) lingering_.push_back(std::move(lingering));
}

void Channel::Retire(EventSource* lingering) {
  for (auto& entry : lingering_) {
    if (entry.get() != lingering) continue;
    graveyard_.push_back(std::move(entry));
    std::swap(entry, lingering_.back());
    lingering_.pop_back();
    return;
  }
}

}  // namespace rtrs::fabric::softiwarp
