// Which paths a session has, when they connect, and which one takes a request.
// wire.md §1.3, §6.
#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/client/session_impl.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::client {
namespace {

// While no path is up each may be the first of a session, and the server of
// one may not be that of the next: they try one after the other, but none
// waits longer than this for one that hears nothing.
constexpr absl::Duration kFirstAttempt = absl::Seconds(1);

bool SamePath(const PathSpec& a, const PathSpec& b) {
  return a.port == b.port && a.ToString() == b.ToString();
}

bool IsConnecting(const Path& path) {
  return path.state() == PathState::kConnecting ||
         path.state() == PathState::kInfo;
}

bool IsDown(const Path& path) {
  return path.state() == PathState::kIdle || path.state() == PathState::kClosed;
}

}  // namespace

void SessionImpl::AddSlot(const PathSpec& spec) {
  // A FENCE names a path by part of its UUID.
  Uuid uuid;
  const auto taken = [&uuid, this] {
    const uint32_t name = wire::FencePath(uuid);
    return std::any_of(slots_.begin(), slots_.end(),
                       [name](const auto& slot) {
                         return wire::FencePath(slot->path->sess_uuid()) ==
                                name;
                       }) ||
           std::any_of(
               fences_.begin(), fences_.end(),
               [name](const Fence& fence) { return fence.name.path == name; });
  };
  do {
    uuid = NewUuid(*random_);
  } while (taken());
  slots_.push_back(std::make_unique<Slot>(
      std::make_unique<Path>(&env_, spec, uuid), options_));
}

std::unique_ptr<SessionImpl::Slot>* SessionImpl::FindSlot(
    const PathSpec& spec) {
  const auto slot =
      std::find_if(slots_.begin(), slots_.end(), [&spec](const auto& s) {
        return !s->removed && SamePath(s->path->spec(), spec);
      });
  return slot == slots_.end() ? nullptr : &*slot;
}

absl::Status SessionImpl::ChangePath(PathChange change, const PathSpec& spec) {
  const std::string name =
      absl::StrCat("path ", spec.ToString(), " port ", spec.port,
                   " of session ", options_.sessname);
  if (!IsOpen()) {
    return ErrnoError(ESHUTDOWN, absl::StrCat(name, ": the session is ",
                                              SessionStateName(state_)));
  }
  std::unique_ptr<Slot>* const found = FindSlot(spec);
  if (change == PathChange::kAdd ? found != nullptr : found == nullptr) {
    return change == PathChange::kAdd
               ? ErrnoError(EEXIST, absl::StrCat(name, ": is there already"))
               : ErrnoError(ENOENT, absl::StrCat(name, ": is not there"));
  }
  const absl::Time now = clock_->Now();
  RTRS_LOG(info, "session {}: path {}: {} on request", options_.sessname,
           spec.ToString(),
           change == PathChange::kAdd          ? "added"
           : change == PathChange::kRemove     ? "removed"
           : change == PathChange::kDisconnect ? "disconnected"
                                               : "reconnected");
  switch (change) {
    case PathChange::kAdd:
      if (slots_.size() >= wire::kMaxPaths) {
        return ErrnoError(E2BIG, absl::StrCat(name, ": a session has at most ",
                                              wire::kMaxPaths, " paths"));
      }
      AddSlot(spec);
      break;
    case PathChange::kRemove:
      if (std::count_if(slots_.begin(), slots_.end(),
                        [](const auto& slot) { return !slot->removed; }) == 1) {
        return ErrnoError(
            EBUSY, absl::StrCat(name, ": is the last one; close the session"));
      }
      (*found)->removed = true;
      (*found)->wanted = false;
      (*found)->path->Close(now);
      break;
    case PathChange::kDisconnect:
      (*found)->wanted = false;
      (*found)->path->Close(now);
      break;
    case PathChange::kReconnect:
      (*found)->wanted = true;
      (*found)->backoff.Reset();
      // One that is up begins anew when it has left in order.
      (*found)->path->Close(now);
      (*found)->next_attempt = now;
      break;
  }
  UpdatePaths(now);
  return absl::OkStatus();
}

std::vector<PathInfo> SessionImpl::paths() const {
  std::vector<PathInfo> infos;
  for (const auto& slot : slots_) {
    if (slot->removed) continue;
    const Path& path = *slot->path;
    PathInfo info;
    info.spec = path.spec();
    info.connected = path.state() == PathState::kConnected;
    info.wanted = slot->wanted;
    info.connects = path.connects();
    info.in_flight = path.in_flight();
    info.latency = path.latency();
    info.why = path.why();
    infos.push_back(std::move(info));
  }
  return infos;
}

absl::Time SessionImpl::NextFirstAttempt() const {
  absl::Time last = absl::InfinitePast();
  for (const auto& slot : slots_) {
    if (IsConnecting(*slot->path)) last = std::max(last, slot->started);
  }
  return last + kFirstAttempt;  // infinite past stays so
}

bool SessionImpl::MayStart(const Slot& slot, absl::Time now) const {
  if (!slot.wanted || !IsDown(*slot.path)) return false;
  // At first each path has one attempt, so that a session which cannot be
  // opened says so.
  if (state_ == SessionState::kConnecting && slot.path->connects() > 0) {
    return false;
  }
  if (now < slot.next_attempt) return false;
  return state_ == SessionState::kConnected || now >= NextFirstAttempt();
}

void SessionImpl::StartPaths(absl::Time now) {
  if (!IsOpen()) return;
  for (const auto& slot : slots_) {
    if (!MayStart(*slot, now)) continue;
    slot->started = now;
    slot->path->Start(state_ != SessionState::kConnected, now);
    if (slot->path->MustTearDown(now)) TearDown(slot.get(), now);
  }
}

absl::Time SessionImpl::NextAttempt() const {
  if (!IsOpen()) return absl::InfiniteFuture();
  const absl::Time first = state_ == SessionState::kConnected
                               ? absl::InfinitePast()
                               : NextFirstAttempt();
  absl::Time next = absl::InfiniteFuture();
  for (const auto& slot : slots_) {
    if (!slot->wanted || !IsDown(*slot->path)) continue;
    if (state_ == SessionState::kConnecting && slot->path->connects() > 0) {
      continue;
    }
    next = std::min(next, std::max(slot->next_attempt, first));
  }
  return next;
}

void SessionImpl::ForgetRemoved() {
  std::erase_if(slots_, [](const auto& slot) {
    return slot->removed && IsDown(*slot->path);
  });
}

Path* SessionImpl::PickPath(const Request& request) {
  Path* best = nullptr;
  const size_t count = slots_.size();
  for (size_t i = 0; i < count; ++i) {
    const bool in_turn = options_.mp_policy == MultipathPolicy::kRoundRobin;
    const size_t at = in_turn ? (last_used_ + 1 + i) % count : i;
    Path* const path = slots_[at]->path.get();
    if (!path->HasRoom(request)) continue;
    if (in_turn) {
      last_used_ = at;
      return path;
    }
    const bool better =
        best == nullptr || (options_.mp_policy == MultipathPolicy::kMinLatency
                                ? path->latency() < best->latency()
                                : path->in_flight() < best->in_flight());
    if (better) best = path;
  }
  return best;
}

}  // namespace rtrs::client
