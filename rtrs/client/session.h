// The RTRS client engine: a session with its permits, its paths and their
// connections. wire.md §1-§6.
//
// A single-threaded state machine over a fabric::EventChannel: it never
// blocks, reads no clock but the one it is given, and does everything inside
// Submit and Progress. BlockingSession (blocking_session.h) puts threads on
// top; tests drive it by hand.
//
// The session owns permits (queue_depth of them, one per request, control
// messages included) and the queue of requests that wait for one. A path owns
// its connections, its rkey table and its heartbeat; it is the unit of
// failure.
//
// While the session is open every path that is not up is connected again, for
// ever, with growing pauses. Requests in flight on a path that is lost move to
// another one with their permits, fenced when the server can do that
// (wire/immediate.h). When the last path is lost all requests fail with
// ECONNABORTED: what they name at the server may be gone with the session, so
// the layer above has to open it again before it asks again.
#ifndef RTRS_CLIENT_SESSION_H_
#define RTRS_CLIENT_SESSION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/path_spec.h"
#include "rtrs/base/random.h"
#include "rtrs/client/options.h"
#include "rtrs/client/request.h"
#include "rtrs/fabric/fabric.h"

namespace rtrs::client {

enum class SessionState {
  kIdle,          // before Start
  kConnecting,    // no path has been up yet
  kConnected,     // at least one path is up
  kDisconnected,  // was up, no path is up now; they are connected again
  kClosing,       // Close was called
  kClosed,        // nothing is left; may be destroyed at no cost
};
const char* SessionStateName(SessionState state);

// What an administrator may do to one path of an open session.
enum class PathChange {
  kAdd,         // to the session, and connect it
  kRemove,      // disconnect and forget it; not the last one
  kDisconnect,  // in order, and leave it so
  kReconnect,   // now, instead of at the next attempt; ends kDisconnect
};

// A path as it is now.
struct PathInfo {
  PathSpec spec;
  bool connected = false;
  bool wanted = true;      // false: disconnected by kDisconnect
  uint32_t connects = 0;   // attempts, ever
  size_t in_flight = 0;    // requests
  absl::Duration latency;  // of the last heartbeat; 0: not known
  absl::Status why;        // what it was lost for, or not connected
};

// Called by the thread that runs the session; must not block or destroy it.
class SessionObserver {
 public:
  virtual ~SessionObserver() = default;
  // `why` says what happened when the state is kDisconnected or kClosed.
  virtual void OnSessionState(SessionState state, const absl::Status& why) = 0;
  // The server sent a NOTICE (wire/immediate.h). Any payload of 28 bits, any
  // number of times: the server is not to be trusted.
  virtual void OnNotice(uint32_t payload) = 0;
};

class Session {
 public:
  // All pointers are borrowed and outlive the session. `channel` belongs to
  // `fabric` and is used by nobody else.
  static std::unique_ptr<Session> Create(fabric::Fabric* fabric,
                                         fabric::EventChannel* channel,
                                         Clock* clock, Random* random,
                                         SessionOptions options,
                                         SessionObserver* observer);
  virtual ~Session() = default;

  // Begins to connect. Ends in kConnected, or in kClosed with the reason of
  // the first path. Its errno (errno_status.h) tells:
  //   EPERM         the server disconnected after INFO_REQ: the session name is
  //                 in use there, or refused; worth a retry for a minute
  //   ECONNRESET, ENXIO, EEXIST, ENOMEM, ...  the server's rejection, as sent
  //   ECONNREFUSED, EHOSTUNREACH, ...         of the fabric's connect
  //   ETIMEDOUT     no answer to a connect or to INFO_REQ
  //   EPROTO        the server's numbers or messages are out of bounds
  //   EINVAL        the options are wrong
  virtual void Start() = 0;

  // Takes `request`; it waits here for a permit and is sent with the next
  // Progress or Flush. A request with a size over the limits is taken and
  // fails with EMSGSIZE, one that finds no path up with ECONNABORTED.
  virtual void Submit(Request* request) = 0;

  // Gives up on `request`, which completes with ETIMEDOUT before this
  // returns. If it was already sent, its path is closed first: only then is
  // its memory free. Other requests of that path move to another one. No
  // effect if it is done already. Not from inside `done`.
  virtual void Cancel(Request* request) = 0;

  // Orderly: disconnects all paths. Requests that are still in flight fail
  // with ESHUTDOWN. Ends in kClosed.
  virtual void Close() = 0;

  // Does what can be done without blocking; true if anything happened.
  virtual bool Progress() = 0;
  // Sends what was submitted.
  virtual void Flush() = 0;
  // When Progress must be called at the latest.
  virtual absl::Time NextDeadline() const = 0;

  virtual SessionState state() const = 0;
  // Valid from the first kConnected on.
  virtual const SessionLimits& limits() const = 0;
  virtual size_t in_flight() const = 0;  // requests with a permit
  // Counts the lives of the session: 1 at first, one more each time the last
  // path is lost. Moves before the observer hears of it.
  virtual uint32_t generation() const = 0;

  // Finds the path by both ends and the port. EEXIST, ENOENT, EBUSY (the last
  // one cannot be removed), E2BIG (too many); ESHUTDOWN when it is not open.
  virtual absl::Status ChangePath(PathChange change, const PathSpec& spec) = 0;
  virtual std::vector<PathInfo> paths() const = 0;
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_SESSION_H_
