// Calls of a BlockingSession: submitting, polling, sleeping, waking.
#include <poll.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/log.h"
#include "rtrs/client/blocking_session_impl.h"

namespace rtrs::client {
namespace {

// How often a call that waits says so.
constexpr int64_t kLogIntervalNs = 5'000'000'000;

// What takes longer to copy than a system call or a wake-up takes.
constexpr uint32_t kShortBytes = 32 << 10;

}  // namespace

void BlockingSessionImpl::OnRequestDone(Request* request) {
  auto* const call = static_cast<Call*>(request->context);
  if (--call->pending > 0) return;
  BlockingSessionImpl* const session = call->session;
  call->next_done = session->done_calls_;
  session->done_calls_ = call;
}

void BlockingSessionImpl::OnAsyncDone(Request* request) {
  --static_cast<BlockingSessionImpl*>(request->priv.owner)->async_in_flight_;
  request->done = request->priv.done;
  request->done(request);
}

bool BlockingSessionImpl::IsShort(const Call& self) {
  return self.requests.size() == 1 &&
         self.requests.front()->data_len <= kShortBytes;
}

bool BlockingSessionImpl::LeaveToPoller(const Call& self) const {
  return IsShort(self) &&
         batching_.LeaveToPoller(running_.load(std::memory_order_relaxed));
}

void BlockingSessionImpl::DrainSubmissions() {
  batching_.OnDrain(session_->in_flight(), spin_.budget_ns() > 0);
  Request* request = submissions_.TakeAll();
  while (request != nullptr) {
    Request* const next = request->priv.next;
    if (request->done == &OnAsyncDone) ++async_in_flight_;
    session_->Submit(request);
    request = next;
  }
}

void BlockingSessionImpl::MarkDone(const Call* self, WakeList* wake) {
  if (done_calls_ == nullptr) return;
  MutexLock lock(&role_mu_);
  while (done_calls_ != nullptr) {
    Call* const call = done_calls_;
    done_calls_ = call->next_done;
    if (call == self) continue;
    if (call->asleep) {
      RemoveSleeper(call);
      wake->push_back(call->word.address());
      call->word.Set(kDone);  // it may be gone from here on
    } else {
      if (call == polling_call_) kick_.Raise();
      // It may be gone from here on.
      call->done.store(true, std::memory_order_release);
    }
  }
}

void BlockingSessionImpl::SendSubmissions(WakeList* wake) {
  DrainSubmissions();
  session_->Flush();
  MarkDone(nullptr, wake);
  // Whoever sleeps on the descriptor armed it before; what could not be sent
  // at once needs his help.
  MutexLock lock(&role_mu_);
  if (housekeeper_polls_ || !poller_) {
    if (async_in_flight_ == 0) return;
    async_waits_ = true;
    if (!housekeeper_polls_ || !channel_->Arm()) housekeeper_kick_.Raise();
  } else if (poller_sleeps_ && !channel_->Arm()) {
    kick_.Raise();
  }
}

void BlockingSessionImpl::ReleaseEngine(WakeList* wake) {
  for (;;) {
    engine_.Unlock();
    if (submissions_.empty() || !engine_.TryLock()) return;
    SendSubmissions(wake);
  }
}

void BlockingSessionImpl::SendAndRelease() {
  WakeList wake;
  SendSubmissions(&wake);
  ReleaseEngine(&wake);
  WakeAll(&wake);
}

void BlockingSessionImpl::WakeAll(WakeList* wake) {
  for (std::atomic<uint32_t>* word : *wake) WaitWord::Wake(word);
  wake->clear();
}

bool BlockingSessionImpl::TryTakeRole(Call* self) {
  MutexLock lock(&role_mu_);
  return TryTakeRoleLocked(self);
}

bool BlockingSessionImpl::TryTakeRoleLocked(Call* self) {
  if (poller_ && !housekeeper_polls_) return false;
  // He sleeps on, and looks again later.
  housekeeper_polls_ = false;
  WatchChannel(false);
  poller_ = true;
  polling_call_ = self;
  return true;
}

void BlockingSessionImpl::RemoveSleeper(Call* call) {
  (call->previous == nullptr ? first_sleeper_ : call->previous->next) =
      call->next;
  (call->next == nullptr ? last_sleeper_ : call->next->previous) =
      call->previous;
  call->next = call->previous = nullptr;
  call->asleep = false;
}

void BlockingSessionImpl::LeaveRole(WakeList* wake) {
  MutexLock lock(&role_mu_);
  // The oldest: its answer is likely to be the next.
  Call* const heir = first_sleeper_;
  polling_call_ = heir;
  if (heir != nullptr) {
    RemoveSleeper(heir);
    wake->push_back(heir->word.address());
    heir->word.Set(kMustPoll);
    return;
  }
  poller_ = false;
  // Nobody calls while no path is up, and somebody has to connect them.
  async_waits_ =
      async_in_flight_ > 0 || session_->state() == SessionState::kDisconnected;
  if (async_waits_) housekeeper_kick_.Raise();
}

void BlockingSessionImpl::Run(absl::Span<Request* const> requests,
                              absl::Time deadline) {
  if (requests.empty()) return;
  Call self;
  self.session = this;
  self.requests = requests;
  self.started_ns = MonotonicNs();
  self.deadline_ns = absl::ToUnixNanos(deadline);
  self.log_ns = self.started_ns + kLogIntervalNs;
  self.pending = requests.size();
  for (Request* request : requests) {
    request->done = &OnRequestDone;
    request->context = &self;
  }
  calls_.fetch_add(1, std::memory_order_relaxed);
  const bool alone = running_.fetch_add(1, std::memory_order_relaxed) == 0;
  const auto leave = absl::MakeCleanup(
      [this] { running_.fetch_sub(1, std::memory_order_relaxed); });
  submissions_.Push(requests);
  // Threads that are about to call too do it first, and all requests go out
  // with one system call.
  if (!alone && yield_.pays(self.started_ns)) {
    yield_.Yield(self.started_ns, calls_);
  }
  // Empty: another thread has sent them meanwhile.
  const bool left = !alone && LeaveToPoller(self);
  if (!left && (alone || !submissions_.empty()) && engine_.TryLock()) {
    if (TryTakeRole(&self)) {
      Poll(&self);
      return;
    }
    SendAndRelease();
  }
  if (!alone && YieldUntilDone(self)) return;
  if (WaitForTurn(&self, left)) {
    engine_.Lock();
    Poll(&self);
  }
}

void BlockingSessionImpl::Submit(Request* request) {
  request->priv.owner = this;
  request->priv.done = std::exchange(request->done, &OnAsyncDone);
  submissions_.Push({&request, 1});
  if (engine_.TryLock()) SendAndRelease();
}

void BlockingSessionImpl::Poll(Call* self) {
  WakeList wake;
  DrainSubmissions();
  session_->Flush();
  int64_t waiting_since = MonotonicNs();
  for (;;) {
    MarkDone(self, &wake);
    if (self->pending == 0) break;
    WakeAll(&wake);
    const bool busy = session_->Progress();
    const int64_t now = MonotonicNs();
    // Also while others are answered: this one may still be stuck.
    if (now >= self->log_ns) LogWait(self, now);
    if (now >= self->deadline_ns) {
      CancelRest(self, &wake);
    } else if (busy) {
      spin_.OnWait(now - waiting_since);
      waiting_since = now;
    } else if (now - waiting_since < SpinBudgetFor(*self) && yield_.pays(now)) {
      yield_.Yield(now, calls_);
    } else {
      SleepAsPoller(*self);
    }
    DrainSubmissions();
  }
  LeaveRole(&wake);
  ReleaseEngine(&wake);
  WakeAll(&wake);
}

int64_t BlockingSessionImpl::SpinBudgetFor(const Call& self) const {
  const bool alone = running_.load(std::memory_order_relaxed) == 1;
  return alone || IsShort(self) ? spin_.budget_ns() : 0;
}

void BlockingSessionImpl::SleepAsPoller(const Call& self) {
  if (!submissions_.empty() || !channel_->Arm()) return;
  const int64_t now = MonotonicNs();
  const int64_t until_ns =
      std::min({self.deadline_ns, self.log_ns,
                absl::ToUnixNanos(session_->NextDeadline())});
  const int64_t left_ns = std::max(until_ns, now) - now;
  const timespec timeout = {left_ns / 1'000'000'000, left_ns % 1'000'000'000};
  pollfd fds[2] = {{channel_->fd(), POLLIN, 0}, {kick_.fd(), POLLIN, 0}};
  poller_sleeps_ = true;
  engine_.Unlock();
  // Whoever pushed before the unlock, and could not have the engine, is found
  // here; whoever pushes later has it.
  if (submissions_.empty()) ppoll(fds, 2, &timeout, nullptr);
  engine_.Lock();
  poller_sleeps_ = false;
  if (fds[1].revents != 0) kick_.Clear();
}

bool BlockingSessionImpl::YieldUntilDone(const Call& self) {
  if (!IsShort(self) || !batching_.AnswersDue()) return false;
  int64_t now = MonotonicNs();
  for (int i = 0; i < CallYield::kBeforeSleep; ++i) {
    if (self.done.load(std::memory_order_acquire)) return true;
    if (!poller_.load(std::memory_order_relaxed) || !yield_.pays(now)) break;
    now = yield_.Yield(now, calls_);
  }
  return false;
}

bool BlockingSessionImpl::WaitForTurn(Call* self, bool left) {
  {
    MutexLock lock(&role_mu_);
    if (self->done) return false;
    if (TryTakeRoleLocked(self)) return true;
    self->word.Set(kAsleep);
    self->asleep = true;
    self->previous = last_sleeper_;
    (last_sleeper_ == nullptr ? first_sleeper_ : last_sleeper_->next) = self;
    last_sleeper_ = self;
  }
  for (;;) {
    const uint32_t word = self->word.Get();
    if (word == kDone) return false;
    if (word == kMustPoll) return true;
    const int64_t now = MonotonicNs();
    if (now >= self->deadline_ns) break;
    if (now >= self->log_ns) LogWait(self, now);
    int64_t until = std::min(self->deadline_ns, self->log_ns);
    if (left) {
      const int64_t patient_until =
          self->started_ns + SendBatching::kPatienceNs;
      left = now < patient_until;
      if (left) {
        until = std::min(until, patient_until);
      } else if (!submissions_.empty() && engine_.TryLock()) {
        SendAndRelease();
        continue;
      }
    }
    self->word.Wait(kAsleep, absl::Nanoseconds(until - now));
  }
  {
    MutexLock lock(&role_mu_);
    if (!self->asleep) return self->word.Get() == kMustPoll;
    RemoveSleeper(self);
  }
  WakeList wake;
  engine_.Lock();
  CancelRest(self, &wake);
  SendSubmissions(&wake);
  ReleaseEngine(&wake);
  WakeAll(&wake);
  return false;
}

void BlockingSessionImpl::CancelRest(Call* self, WakeList* wake) {
  DrainSubmissions();
  for (Request* request : self->requests) session_->Cancel(request);
  session_->Flush();
  MarkDone(self, wake);
}

void BlockingSessionImpl::LogWait(Call* self, int64_t now_ns) const {
  self->log_ns = now_ns + kLogIntervalNs;
  const Request& first = *self->requests.front();
  RTRS_LOG_EVERY(
      warn, absl::Nanoseconds(kLogIntervalNs),
      "session {} ({}): waiting for the answer to {} requests since "
      "{} s, the first a {} of {} bytes",
      options_.sessname, SessionStateName(state()), self->requests.size(),
      (now_ns - self->started_ns) / 1'000'000'000,
      first.direction == Direction::kRead ? "read" : "write", first.data_len);
}

}  // namespace rtrs::client
