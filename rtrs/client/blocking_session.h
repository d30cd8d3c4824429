// Threads on top of a client session: any number of threads call, one of them
// polls (design: "the caller polls").
//
// The thread that waits for its own request runs the engine for all; it wakes
// the others in one batch when their requests are done, and hands the polling
// over. It spins as long as measured spinning pays, then sleeps on the
// channel's descriptor. A housekeeping thread keeps heartbeats and deadlines
// going while nobody waits.
#ifndef RTRS_CLIENT_BLOCKING_SESSION_H_
#define RTRS_CLIENT_BLOCKING_SESSION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "rtrs/client/options.h"
#include "rtrs/client/request.h"
#include "rtrs/client/session.h"
#include "rtrs/fabric/fabric.h"

namespace rtrs::client {

// Any thread, unless said otherwise.
class BlockingSession {
 public:
  // Connects and waits for it. `fabric` outlives the session. Must not be
  // called before a fork that the process goes on after.
  static absl::StatusOr<std::unique_ptr<BlockingSession>> Open(
      fabric::Fabric* fabric, SessionOptions options);

  // Closes in order; waits for it a few seconds at most. No call is running.
  virtual ~BlockingSession() = default;

  // Submits all of `requests` at once and returns when all are done; each has
  // its own result. A request that is not done at `deadline` (of
  // Clock::System()) is cancelled (Session::Cancel). While it waits longer than
  // a few seconds it logs for what and since when. `done` and `context` of the
  // requests are used by this call.
  virtual void Run(absl::Span<Request* const> requests,
                   absl::Time deadline) = 0;

  // Submits without waiting; `done` is called later by some thread.
  virtual void Submit(Request* request) = 0;

  virtual SessionState state() const = 0;
  // Those of the last time that it came up.
  virtual SessionLimits limits() const = 0;
  // Session::generation().
  virtual uint32_t generation() const = 0;

  // As of Session.
  virtual absl::Status ChangePath(PathChange change, const PathSpec& spec) = 0;
  virtual std::vector<PathInfo> paths() const = 0;

  // Replaces the observer (none at first). Called by some thread, must not
  // block or call back.
  virtual void SetStateCallback(
      std::function<void(SessionState, const absl::Status&)> callback) = 0;
  // The same for SessionObserver::OnNotice.
  virtual void SetNoticeCallback(
      std::function<void(uint32_t payload)> callback) = 0;
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_BLOCKING_SESSION_H_
