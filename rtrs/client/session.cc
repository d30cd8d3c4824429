// The session: its state and its paths. Requests are in session_io.cc.
#include "rtrs/client/session.h"

#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/base/uuid.h"
#include "rtrs/client/session_impl.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::client {

const char* SessionStateName(SessionState state) {
  switch (state) {
    case SessionState::kIdle:
      return "idle";
    case SessionState::kConnecting:
      return "connecting";
    case SessionState::kConnected:
      return "connected";
    case SessionState::kDisconnected:
      return "disconnected";
    case SessionState::kClosing:
      return "closing";
    case SessionState::kClosed:
      return "closed";
  }
  return "?";
}

std::unique_ptr<Session> Session::Create(fabric::Fabric* fabric,
                                         fabric::EventChannel* channel,
                                         Clock* clock, Random* random,
                                         SessionOptions options,
                                         SessionObserver* observer) {
  return std::make_unique<SessionImpl>(fabric, channel, clock, random,
                                       std::move(options), observer);
}

SessionImpl::SessionImpl(fabric::Fabric* fabric, fabric::EventChannel* channel,
                         Clock* clock, Random* random, SessionOptions options,
                         SessionObserver* observer)
    : fabric_(fabric),
      clock_(clock),
      random_(random),
      options_(std::move(options)),
      observer_(observer) {
  env_.channel = channel;
  env_.device = fabric->device();
  env_.options = &options_;
  env_.paths_uuid = NewUuid(*random_);
  env_.host = this;
}

SessionImpl::~SessionImpl() {
  state_ = SessionState::kClosing;
  const absl::Time now = clock_->Now();
  for (const auto& slot : slots_) TearDown(slot.get(), now);
  AbandonHeld(ESHUTDOWN);
  while (!waiting_.empty()) Finish(waiting_.front(), ESHUTDOWN, true);
  RunCallbacks();
}

void SessionImpl::SetState(SessionState state, const absl::Status& why) {
  if (state == state_) return;
  RTRS_LOG(debug, "session {}: {} -> {}{}{}", options_.sessname,
           SessionStateName(state_), SessionStateName(state),
           why.ok() ? "" : ": ", why.ok() ? "" : why.message());
  state_ = state;
  if (observer_ != nullptr) observer_->OnSessionState(state, why);
}

void SessionImpl::OnNotice(uint32_t payload) {
  if (observer_ != nullptr) observer_->OnNotice(payload);
}

absl::Status SessionImpl::Prepare() {
  RTRS_RETURN_IF_ERROR(wire::CheckSessionName(options_.sessname));
  if (options_.paths.empty() || options_.paths.size() > wire::kMaxPaths) {
    return ErrnoError(
        EINVAL, absl::StrCat("session with ", options_.paths.size(),
                             " paths, allowed are 1 to ", wire::kMaxPaths));
  }
  if (options_.io_connections == 0 ||
      options_.io_connections >= wire::kMaxConnections) {
    return ErrnoError(
        EINVAL, absl::StrCat("io_connections ", options_.io_connections,
                             ", allowed are 1 to ", wire::kMaxConnections - 1));
  }
  RTRS_ASSIGN_OR_RETURN(pd_, fabric_->AllocPd());
  env_.pd = pd_.get();
  for (const PathSpec& spec : options_.paths) AddSlot(spec);
  return absl::OkStatus();
}

void SessionImpl::Start() {
  if (absl::Status status = Prepare(); !status.ok()) {
    SetState(SessionState::kClosed, status);
    return;
  }
  SetState(SessionState::kConnecting, absl::OkStatus());
  UpdatePaths(clock_->Now());
}

void SessionImpl::Close() {
  if (state_ == SessionState::kIdle) {
    SetState(SessionState::kClosed, absl::OkStatus());
  }
  if (state_ == SessionState::kClosing || state_ == SessionState::kClosed) {
    return;
  }
  SetState(SessionState::kClosing, absl::OkStatus());
  AbandonHeld(ESHUTDOWN);
  while (!waiting_.empty()) Finish(waiting_.front(), ESHUTDOWN, true);
  const absl::Time now = clock_->Now();
  for (const auto& slot : slots_) slot->path->Close(now);
  UpdatePaths(now);
}

bool SessionImpl::AnyPath(PathState state) const {
  return std::any_of(slots_.begin(), slots_.end(), [state](const auto& slot) {
    return slot->path->state() == state;
  });
}

bool SessionImpl::AllClosed() const {
  return std::all_of(slots_.begin(), slots_.end(), [](const auto& slot) {
    return slot->path->state() == PathState::kClosed;
  });
}

absl::Status SessionImpl::OnPathReady(const Path& path) {
  const PathLimits& limits = path.limits();
  // Of a session that is up nothing changes. Its state, not those of the
  // paths: what was in flight on a path that failed just now still counts.
  if (state_ == SessionState::kConnected) {
    if (path.first()) {
      return ErrnoError(EAGAIN,
                        "another path was faster; this one joins it later");
    }
    if (limits.queue_depth != limits_.queue_depth ||
        limits.max_io_size < limits_.max_io_size ||
        limits.max_hdr_size < limits_.max_hdr_size) {
      return ErrnoError(
          EPROTO,
          absl::StrCat("queue depth ", limits.queue_depth, ", max_io_size ",
                       limits.max_io_size, " and max_hdr_size ",
                       limits.max_hdr_size, "; the session was opened with ",
                       limits_.queue_depth, ", ", limits_.max_io_size, " and ",
                       limits_.max_hdr_size));
    }
    return absl::OkStatus();
  }
  return SetLimits(limits);
}

absl::Status SessionImpl::SetLimits(const PathLimits& limits) {
  limits_.capabilities = limits.capabilities;
  if (limits.queue_depth == limits_.queue_depth &&
      limits.max_io_size == limits_.max_io_size &&
      limits.max_hdr_size == limits_.max_hdr_size) {
    return absl::OkStatus();
  }
  // No path is up, so no permit is taken and no memory in use.
  RTRS_ASSIGN_OR_RETURN(headers_,
                        RegisteredMemory::Allocate(
                            pd_.get(),
                            size_t{limits.queue_depth} *
                                (kMaxUserMessage + wire::IoHeader::kMaxSize),
                            0));
  if (permits_.has_value()) {
    RTRS_LOG(warn,
             "session {}: the server came back with queue depth {} and "
             "max_io_size {}, before {} and {}",
             options_.sessname, limits.queue_depth, limits.max_io_size,
             limits_.queue_depth, limits_.max_io_size);
  }
  limits_.queue_depth = limits.queue_depth;
  limits_.max_io_size = limits.max_io_size;
  limits_.max_hdr_size = limits.max_hdr_size;
  permits_.emplace(limits.queue_depth);
  in_flight_.clear();
  in_flight_.resize(limits.queue_depth);
  data_.emplace(pd_.get(), env_.device.cheap_registration, limits.max_io_size);
  return absl::OkStatus();
}

void SessionImpl::TearDown(Slot* slot, absl::Time now) {
  Path* const path = slot->path.get();
  if (path->state() == PathState::kClosed) return;
  path->TearDown();
  slot->next_attempt = now + slot->backoff.Next(*random_);
  if (!path->why().ok()) {
    if (std::exchange(slot->was_up, false)) {
      RTRS_LOG(warn, "session {}: {}", options_.sessname, path->why());
    } else {
      RTRS_LOG_EVERY(warn, absl::Seconds(5), "session {}: {}; trying again",
                     options_.sessname, path->why());
    }
    if (first_failure_.ok()) first_failure_ = path->why();
    last_failure_ = path->why();
  }
  HoldInFlight(path, now);
}

void SessionImpl::TearDownDue(absl::Time now) {
  for (const auto& slot : slots_) {
    if (slot->path->MustTearDown(now)) TearDown(slot.get(), now);
  }
}

void SessionImpl::UpdatePaths(absl::Time now) {
  TearDownDue(now);
  UpdateState();
  StartPaths(now);
  TearDownDue(now);
  ForgetRemoved();
  UpdateState();
  AskFences(now);
}

void SessionImpl::UpdateState() {
  switch (state_) {
    case SessionState::kIdle:
    case SessionState::kClosed:
      return;
    case SessionState::kClosing:
      if (AllClosed()) SetState(SessionState::kClosed, last_failure_);
      return;
    case SessionState::kConnecting:
    case SessionState::kConnected:
    case SessionState::kDisconnected:
      break;
  }
  if (AnyPath(PathState::kConnected)) {
    for (const auto& slot : slots_) {
      if (slot->path->state() != PathState::kConnected) continue;
      slot->backoff.Reset();
      slot->was_up = true;
    }
    SetState(SessionState::kConnected, absl::OkStatus());
  } else if (state_ == SessionState::kConnected) {
    AbandonHeld(ECONNABORTED);
    ++generation_;
    SetState(SessionState::kDisconnected, last_failure_);
  } else if (state_ == SessionState::kConnecting && AllClosed()) {
    while (!waiting_.empty()) Finish(waiting_.front(), ECONNABORTED, true);
    SetState(SessionState::kClosed, first_failure_);
  }
}

void SessionImpl::DrainEvents(absl::Time now) {
  fabric::CmEvent event;
  while (env_.channel->NextEvent(&event)) {
    if (event.qp != nullptr) {
      auto* const con = static_cast<Connection*>(event.qp->context());
      con->path()->OnEvent(con, event, now);
    } else if (event.type == fabric::CmEvent::Type::kDeviceRemoved) {
      for (const auto& slot : slots_) {
        slot->path->Fail(ErrnoError(ENODEV, "the RDMA device was removed"));
      }
    }
    event = fabric::CmEvent();
  }
}

bool SessionImpl::Progress() {
  bool busy = env_.channel->Progress();
  const absl::Time now = clock_->Now();
  DrainEvents(now);
  for (const auto& slot : slots_) busy = slot->path->Poll(now) || busy;
  for (const auto& slot : slots_) slot->path->OnTimer(now);
  UpdatePaths(now);
  busy = RunCallbacks() || busy;
  Flush();
  return busy;
}

absl::Time SessionImpl::NextDeadline() const {
  if (!finished_.empty()) return absl::InfinitePast();
  absl::Time next = std::min(env_.channel->NextDeadline(), NextAttempt());
  for (const auto& slot : slots_) next = std::min(next, slot->path->deadline());
  for (const Fence& fence : fences_) next = std::min(next, fence.log_at);
  return next;
}

}  // namespace rtrs::client
