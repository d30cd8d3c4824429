// What was in flight on a path that is lost: held, fenced, sent again. wire.md
// §5.3, immediate.h.
#include <errno.h>

#include <algorithm>
#include <utility>

#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/client/session_impl.h"

namespace rtrs::client {
namespace {

// How often a fence that is not confirmed is spoken of.
constexpr absl::Duration kFenceLog = absl::Seconds(5);

}  // namespace

void SessionImpl::HoldInFlight(Path* path, absl::Time now) {
  for (Fence& fence : fences_) {
    if (fence.asked == path) fence.asked = nullptr;  // asked again elsewhere
  }
  // In the order of permits, as the server numbers them.
  std::vector<uint32_t> held;
  for (uint32_t permit = 0; permit < in_flight_.size(); ++permit) {
    InFlight& flight = in_flight_[permit];
    if (flight.path != path) continue;
    if (!IsOpen()) {
      Complete(permit, ESHUTDOWN, true);
      continue;
    }
    // Also one that was answered before its data had been read.
    flight.path = nullptr;
    flight.reading = flight.answered = false;
    flight.request->priv.state = kHeld;
    held.push_back(permit);
  }
  if (held.empty()) return;
  const bool fenced =
      path->limits().capabilities.Has(wire::Capabilities::kFence);
  RTRS_LOG(warn, "session {}: path {}: {} requests were in flight{}",
           options_.sessname, path->spec().ToString(), held.size(),
           fenced ? ", the server is asked to fence it"
                  : ", the server cannot fence it");
  if (!fenced) {  // as the kernel does
    resend_.insert(resend_.end(), held.begin(), held.end());
    return;
  }
  Fence fence;
  fence.name = path->fence_name();
  fence.path = path->spec().ToString();
  fence.permits = std::move(held);
  fence.since = now;
  fence.log_at = now + kFenceLog;
  fences_.push_back(std::move(fence));
}

void SessionImpl::AbandonHeld(int error) {
  for (Fence& fence : fences_) {
    if (!fence.permits.empty()) fence.orphans = true;
    for (const uint32_t permit : std::exchange(fence.permits, {})) {
      Complete(permit, error, true);
    }
  }
  for (const uint32_t permit : std::exchange(resend_, {})) {
    Complete(permit, error, true);
  }
}

void SessionImpl::AbandonOne(Request* request) {
  const uint32_t permit = request->priv.permit;
  for (Fence& fence : fences_) {
    if (std::erase(fence.permits, permit) > 0) fence.orphans = true;
  }
  std::erase(resend_, permit);
  Complete(permit, ETIMEDOUT, true);
}

void SessionImpl::AskFences(absl::Time now) {
  if (fences_.empty()) return;
  if (state_ == SessionState::kConnected &&
      !limits_.capabilities.Has(wire::Capabilities::kFence)) {
    // Another server has taken the place of the one that knew those paths.
    for (const Fence& fence : fences_) {
      resend_.insert(resend_.end(), fence.permits.begin(), fence.permits.end());
    }
    fences_.clear();
  }
  for (Fence& fence : fences_) {
    if (now >= fence.log_at) {
      fence.log_at = now + kFenceLog;
      RTRS_LOG(warn, "session {}: the lost path {} is not fenced since {}{}{}",
               options_.sessname, fence.path, now - fence.since,
               fence.asked == nullptr ? ": no path leads to the server"
                                      : ": the server has still I/O of it",
               fence.orphans ? ", all requests wait" : "");
    }
    if (fence.asked != nullptr) continue;
    for (const auto& slot : slots_) {
      if (slot->path->SendFence(fence.name)) {
        fence.asked = slot->path.get();
        break;
      }
    }
  }
}

void SessionImpl::OnFenceDone(Path* path, const wire::FenceImm& name) {
  const auto fence = std::find_if(
      fences_.begin(), fences_.end(),
      [&](const Fence& f) { return f.name == name && f.asked == path; });
  if (fence == fences_.end()) {
    RTRS_LOG_EVERY(warn, absl::Seconds(10),
                   "session {}: path {}: a fence was confirmed that was not "
                   "asked for: ignored",
                   options_.sessname, path->spec().ToString());
    return;
  }
  RTRS_LOG(info, "session {}: the lost path {} is fenced, {} requests go on",
           options_.sessname, fence->path, fence->permits.size());
  resend_.insert(resend_.end(), fence->permits.begin(), fence->permits.end());
  fences_.erase(fence);
}

bool SessionImpl::Barrier() const {
  return std::any_of(fences_.begin(), fences_.end(),
                     [](const Fence& fence) { return fence.orphans; });
}

void SessionImpl::ResendHeld() {
  while (!resend_.empty()) {
    const uint32_t permit = resend_.front();
    Path* const path = PickPath(*in_flight_[permit].request);
    if (path == nullptr) return;  // full, or UpdatePaths gives them back
    resend_.pop_front();
    Post(permit, path);
  }
}

}  // namespace rtrs::client
