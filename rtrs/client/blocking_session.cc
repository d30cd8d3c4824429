// Opening, closing and the housekeeper; calls are in blocking_call.cc.
#include "rtrs/client/blocking_session.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/random.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/client/blocking_session_impl.h"

namespace rtrs::client {
namespace {

constexpr absl::Duration kCloseTimeout = absl::Seconds(5);
// How often the housekeeper looks whether the calls have stopped.
constexpr absl::Duration kLookInterval = absl::Milliseconds(200);
// How long he sleeps with the role, which a call may take without a word.
constexpr absl::Duration kRoleInterval = absl::Seconds(1);

int Milliseconds(absl::Duration d) {
  return static_cast<int>(absl::ToInt64Milliseconds(
      absl::Ceil(std::clamp(d, absl::ZeroDuration(), absl::Hours(1)),
                 absl::Milliseconds(1))));
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlockingSession>> BlockingSession::Open(
    fabric::Fabric* fabric, SessionOptions options) {
  auto session =
      std::make_unique<BlockingSessionImpl>(fabric, std::move(options));
  RTRS_RETURN_IF_ERROR(session->Connect());
  return session;
}

BlockingSessionImpl::BlockingSessionImpl(fabric::Fabric* fabric,
                                         SessionOptions options)
    : fabric_(fabric), options_(std::move(options)) {}

absl::Status BlockingSessionImpl::Connect() {
  RTRS_ASSIGN_OR_RETURN(kick_, EventFd::Create());
  RTRS_ASSIGN_OR_RETURN(housekeeper_kick_, EventFd::Create());
  RTRS_ASSIGN_OR_RETURN(housekeeper_epoll_, EpollFd::Create());
  RTRS_ASSIGN_OR_RETURN(channel_, fabric_->CreateEventChannel());
  RTRS_RETURN_IF_ERROR(
      housekeeper_epoll_.Watch(housekeeper_kick_.fd(), EPOLLIN));
  RTRS_RETURN_IF_ERROR(housekeeper_epoll_.Watch(channel_->fd(), 0));
  session_ = Session::Create(fabric_, channel_.get(), Clock::System(),
                             Random::System(), options_, this);
  session_->Start();
  PumpUntil(absl::InfiniteFuture(), [](SessionState state) {
    return state != SessionState::kConnecting;
  });
  if (session_->state() != SessionState::kConnected) {
    return why_.ok() ? ErrnoError(ECONNRESET, "the session closed") : why_;
  }
  housekeeper_ = std::thread([this] { Housekeep(); });
  return absl::OkStatus();
}

BlockingSessionImpl::~BlockingSessionImpl() {
  stopping_ = true;
  if (housekeeper_.joinable()) {
    housekeeper_kick_.Raise();
    housekeeper_.join();
  }
  engine_.Lock();
  if (session_ != nullptr) {
    DrainSubmissions();
    session_->Close();
    PumpUntil(Clock::System()->Now() + kCloseTimeout, [](SessionState state) {
      return state == SessionState::kClosed;
    });
    session_.reset();
  }
  engine_.Unlock();
  channel_.reset();
}

// While no other thread is near: moves the session until `done`.
void BlockingSessionImpl::PumpUntil(absl::Time deadline,
                                    bool (*done)(SessionState)) {
  for (;;) {
    const bool busy = session_->Progress();
    const absl::Time now = Clock::System()->Now();
    if (done(session_->state()) || now >= deadline) return;
    if (busy || !channel_->Arm()) continue;
    pollfd fd = {channel_->fd(), POLLIN, 0};
    poll(&fd, 1,
         Milliseconds(std::min(deadline, session_->NextDeadline()) - now));
  }
}

void BlockingSessionImpl::OnSessionState(SessionState state,
                                         const absl::Status& why) {
  generation_.store(session_->generation(), std::memory_order_release);
  state_.store(state, std::memory_order_release);
  why_ = why;
  if (state == SessionState::kConnected) {
    MutexLock lock(&limits_mu_);
    limits_ = session_->limits();
  }
  MutexLock lock(&callback_mu_);
  if (callback_) callback_(state, why);
}

void BlockingSessionImpl::SetStateCallback(
    std::function<void(SessionState, const absl::Status&)> callback) {
  MutexLock lock(&callback_mu_);
  callback_ = std::move(callback);
}

void BlockingSessionImpl::OnNotice(uint32_t payload) {
  MutexLock lock(&callback_mu_);
  if (notice_callback_) notice_callback_(payload);
}

void BlockingSessionImpl::SetNoticeCallback(
    std::function<void(uint32_t payload)> callback) {
  MutexLock lock(&callback_mu_);
  notice_callback_ = std::move(callback);
}

absl::Status BlockingSessionImpl::ChangePath(PathChange change,
                                             const PathSpec& spec) {
  WakeList wake;
  engine_.Lock();
  absl::Status status = session_->ChangePath(change, spec);
  SendSubmissions(&wake);
  ReleaseEngine(&wake);
  WakeAll(&wake);
  // Whoever sleeps does not know of the new deadlines.
  kick_.Raise();
  housekeeper_kick_.Raise();
  return status;
}

std::vector<PathInfo> BlockingSessionImpl::paths() const {
  engine_.Lock();
  std::vector<PathInfo> infos = session_->paths();
  engine_.Unlock();
  return infos;
}

void BlockingSessionImpl::WatchChannel(bool on) {
  if (watching_ == on) return;
  watching_ = on;
  epoll_event event{};
  event.events = on ? EPOLLIN : 0u;
  event.data.fd = channel_->fd();
  epoll_ctl(housekeeper_epoll_.fd(), EPOLL_CTL_MOD, channel_->fd(), &event);
}

bool BlockingSessionImpl::HousekeeperPolls(uint64_t* seen_calls) {
  const uint64_t calls = calls_.load(std::memory_order_relaxed);
  const bool quiet = std::exchange(*seen_calls, calls) == calls;
  MutexLock lock(&role_mu_);
  if (!poller_ && (quiet || async_waits_)) {
    poller_ = housekeeper_polls_ = true;
  }
  return housekeeper_polls_;
}

absl::Duration BlockingSessionImpl::PollAsHousekeeper(WakeList* wake) {
  {
    // A call may have taken the role and sleep on the descriptor: it relies on
    // what it armed.
    MutexLock lock(&role_mu_);
    if (!housekeeper_polls_) return kLookInterval;
  }
  DrainSubmissions();
  const bool busy = session_->Progress();
  MarkDone(nullptr, wake);
  if (busy || !submissions_.empty() || !channel_->Arm()) {
    return absl::ZeroDuration();
  }
  MutexLock lock(&role_mu_);
  async_waits_ = async_in_flight_ > 0;
  WatchChannel(housekeeper_polls_);
  return std::min(kRoleInterval,
                  session_->NextDeadline() - Clock::System()->Now());
}

void BlockingSessionImpl::Housekeep() {
  uint64_t seen_calls = 0;
  WakeList wake;
  while (!stopping_) {
    absl::Duration timeout = kLookInterval;
    if (HousekeeperPolls(&seen_calls)) {
      engine_.Lock();
      timeout = PollAsHousekeeper(&wake);
      ReleaseEngine(&wake);
      WakeAll(&wake);
    }
    epoll_event events[2];
    const int n =
        epoll_wait(housekeeper_epoll_.fd(), events, 2, Milliseconds(timeout));
    for (int i = 0; i < n; ++i) {
      if (events[i].data.fd == housekeeper_kick_.fd()) {
        housekeeper_kick_.Clear();
      }
    }
  }
}

}  // namespace rtrs::client
