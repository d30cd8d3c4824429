// Requests of a session: waiting, sending, completing.
#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/client/session_impl.h"

namespace rtrs::client {

void RequestList::PushBack(Request* request) {
  request->priv.next = nullptr;
  request->priv.previous = tail_;
  (tail_ == nullptr ? head_ : tail_->priv.next) = request;
  tail_ = request;
}

void RequestList::Remove(Request* request) {
  Request* const next = request->priv.next;
  Request* const previous = request->priv.previous;
  (previous == nullptr ? head_ : previous->priv.next) = next;
  (next == nullptr ? tail_ : next->priv.previous) = previous;
  request->priv.next = request->priv.previous = nullptr;
}

void SessionImpl::Submit(Request* request) {
  request->error = 0;
  request->local_error = false;
  if (state_ == SessionState::kClosing || state_ == SessionState::kClosed) {
    Finish(request, ESHUTDOWN, true);
    return;
  }
  request->priv.state = kWaiting;
  waiting_.PushBack(request);
}

void SessionImpl::Dispatch() {
  ResendHeld();
  if (state_ == SessionState::kConnected && Barrier()) return;
  while (!waiting_.empty() && TrySend(waiting_.front())) {
  }
}

bool SessionImpl::TrySend(Request* request) {
  if (state_ == SessionState::kIdle || state_ == SessionState::kConnecting) {
    return false;
  }
  if (request->generation != 0 && request->generation != generation_) {
    Finish(request, ECONNABORTED, true);
    return true;
  }
  Path* const path = PickPath(*request);
  if (path == nullptr) {
    if (AnyPath(PathState::kConnected)) return false;  // all are full
    Finish(request, ECONNABORTED, true);
    return true;
  }
  // A path may take more than the session was opened with.
  PathLimits limits = path->limits();
  limits.max_io_size = limits_.max_io_size;
  if (absl::Status s = CheckRequestSize(*request, limits); !s.ok()) {
    RTRS_LOG_EVERY(warn, absl::Seconds(5), "session {}: {}", options_.sessname,
                   s);
    Finish(request, ErrnoOf(s), true);
    return true;
  }
  const std::optional<uint32_t> permit = permits_->Take();
  if (!permit.has_value()) return false;
  InFlight& flight = in_flight_[*permit];
  const absl::StatusOr<bool> acquired = data_->Acquire(*request, &flight.data);
  if (!acquired.ok() || !*acquired) {
    permits_->Return(*permit);
    if (acquired.ok()) return false;  // no bounce buffer is free
    RTRS_LOG_EVERY(err, absl::Seconds(5), "session {}: cannot register: {}",
                   options_.sessname, acquired.status());
    Finish(request, ErrnoOf(acquired.status()), true);
    return true;
  }
  waiting_.Remove(request);
  request->priv.permit = *permit;
  flight.request = request;
  std::copy(request->user_message.begin(), request->user_message.end(),
            HeaderSlot(*permit));
  Post(*permit, path);
  return true;
}

void SessionImpl::Post(uint32_t permit, Path* path) {
  InFlight& flight = in_flight_[permit];
  Request* const request = flight.request;
  request->priv.state = kInFlight;
  // A peer may answer before it has read all; the caller's memory must not be
  // given back while the send queue reads it. Bounce buffers stay ours.
  flight.reading = data_->in_place() && request->data_len > 0 &&
                   request->direction == Direction::kWrite;
  flight.path = path;

  OutgoingRequest out;
  out.request = request;
  out.permit = permit;
  out.data = &flight.data;
  out.header = HeaderSlot(permit);
  out.header_lkey = headers_.region->lkey();
  out.own_completion = flight.reading;
  // On an error the path is torn down, and the request sent on another.
  if (absl::StatusOr<uint16_t> cid = path->Send(out); cid.ok()) {
    flight.cid = *cid;
  }
}

uint8_t* SessionImpl::HeaderSlot(uint32_t permit) const {
  return headers_.bytes.get() +
         size_t{permit} * (kMaxUserMessage + wire::IoHeader::kMaxSize);
}

absl::Status SessionImpl::OnResponse(Path* path, uint16_t cid,
                                     const wire::IoResponseImm& response) {
  InFlight& flight = in_flight_[response.msg_id];
  if (flight.request == nullptr || flight.path != path || flight.cid != cid ||
      flight.answered) {
    return ErrnoError(EPROTO,
                      absl::StrCat("response for chunk ", response.msg_id,
                                   ", on which nothing is in flight there"));
  }
  if (flight.reading) {
    flight.answered = true;
    flight.error = response.error;
  } else {
    Complete(response.msg_id, response.error, false);
  }
  return absl::OkStatus();
}

void SessionImpl::OnSendCompletion(Path* path, uint32_t permit) {
  InFlight& flight = in_flight_[permit];
  if (flight.path != path) return;
  flight.reading = false;
  if (flight.answered) Complete(permit, flight.error, false);
}

void SessionImpl::Complete(uint32_t permit, int error, bool local) {
  InFlight& flight = in_flight_[permit];
  Request* const request = flight.request;
  data_->Release(*request, error == 0, &flight.data);
  flight = InFlight();
  permits_->Return(permit);
  Finish(request, error, local);
}

void SessionImpl::Finish(Request* request, int error, bool local) {
  if (request->priv.state == kWaiting) waiting_.Remove(request);
  request->error = error;
  request->local_error = local;
  request->priv.state = kFinished;
  finished_.PushBack(request);
}

bool SessionImpl::RunCallbacks() {
  // Only what is finished now: a callback may submit what finishes at once.
  RequestList batch = std::exchange(finished_, RequestList());
  const bool any = !batch.empty();
  while (!batch.empty()) {
    Request* const request = batch.front();
    batch.Remove(request);
    request->priv.state = kFree;
    request->done(request);
  }
  return any;
}

void SessionImpl::Flush() {
  for (;;) {
    Dispatch();
    // Each time there is one path less.
    if (!AnyPath(PathState::kFailed)) break;
    UpdatePaths(clock_->Now());
  }
  env_.channel->Flush();
  RunCallbacks();
}

void SessionImpl::Cancel(Request* request) {
  switch (request->priv.state) {
    case kWaiting:
      Finish(request, ETIMEDOUT, true);
      break;
    case kInFlight: {
      Path* const path = in_flight_[request->priv.permit].path;
      const absl::Time now = clock_->Now();
      path->Fail(
          ErrnoError(ETIMEDOUT, absl::StrCat("path ", path->spec().ToString(),
                                             ": a request was given up, chunk ",
                                             request->priv.permit)));
      // Also when it is being closed in order.
      for (const auto& slot : slots_) {
        if (slot->path.get() == path) TearDown(slot.get(), now);
      }
      if (request->priv.state == kHeld) AbandonOne(request);
      request->error = ETIMEDOUT;
      request->local_error = true;
      UpdatePaths(now);
      break;
    }
    case kHeld:
      AbandonOne(request);
      request->error = ETIMEDOUT;
      break;
    case kFinished:
      break;
    case kFree:
      return;
  }
  finished_.Remove(request);
  request->priv.state = kFree;
  request->done(request);
}

}  // namespace rtrs::client
