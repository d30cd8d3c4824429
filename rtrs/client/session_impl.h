// The client engine behind session.h. Private to rtrs/client.
//
// session.cc: states, and the end of paths; session_paths.cc: which paths there
// are, when they connect and which one takes a request; session_io.cc: requests
// from Submit to `done`; session_failover.cc: what was in flight on a path that
// is lost.
#ifndef RTRS_CLIENT_SESSION_IMPL_H_
#define RTRS_CLIENT_SESSION_IMPL_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rtrs/client/backoff.h"
#include "rtrs/client/data_memory.h"
#include "rtrs/client/path.h"
#include "rtrs/client/permits.h"
#include "rtrs/client/session.h"

namespace rtrs::client {

// An intrusive list of requests, oldest first.
class RequestList {
 public:
  bool empty() const { return head_ == nullptr; }
  Request* front() const { return head_; }
  void PushBack(Request* request);
  void Remove(Request* request);

 private:
  Request* head_ = nullptr;
  Request* tail_ = nullptr;
};

class SessionImpl : public Session, private PathHost {
 public:
  SessionImpl(fabric::Fabric* fabric, fabric::EventChannel* channel,
              Clock* clock, Random* random, SessionOptions options,
              SessionObserver* observer);
  ~SessionImpl() override;

  void Start() override;
  void Submit(Request* request) override;
  void Cancel(Request* request) override;
  void Close() override;
  bool Progress() override;
  void Flush() override;
  absl::Time NextDeadline() const override;
  SessionState state() const override { return state_; }
  const SessionLimits& limits() const override { return limits_; }
  size_t in_flight() const override {
    return permits_.has_value() ? permits_->taken() : 0;
  }
  uint32_t generation() const override { return generation_; }
  absl::Status ChangePath(PathChange change, const PathSpec& spec) override;
  std::vector<PathInfo> paths() const override;

 private:
  // Where a request is: Request::Private::state.
  enum RequestState : uint8_t {
    kFree,      // the caller's
    kWaiting,   // in waiting_, for a path and a permit
    kInFlight,  // has a permit and was posted to a path
    kHeld,      // has a permit; its path was lost, it will be sent again
    kFinished,  // in finished_, until `done` is called
  };

  // What a permit is used for.
  struct InFlight {
    Request* request = nullptr;  // null: the permit is free
    Path* path = nullptr;        // null: held
    uint16_t cid = 0;
    bool reading = false;   // the send queue may still read the data
    bool answered = false;  // the response came while `reading`
    int error = 0;          // of the response
    DataBuffer data;
  };

  // A path, and what the session wants of it.
  struct Slot {
    Slot(std::unique_ptr<Path> p, const SessionOptions& options)
        : path(std::move(p)),
          backoff(options.reconnect_delay_min, options.reconnect_delay_max) {}
    std::unique_ptr<Path> path;
    Backoff backoff;
    absl::Time next_attempt = absl::InfinitePast();
    absl::Time started = absl::InfinitePast();  // the last attempt
    bool wanted = true;    // not disconnected by an administrator
    bool was_up = false;   // since the last attempt
    bool removed = false;  // goes when it is closed
  };

  // A lost path of which the server has not confirmed yet that nothing sent on
  // it can execute any more.
  struct Fence {
    wire::FenceImm name;
    std::string path;               // for the log
    std::vector<uint32_t> permits;  // held until then
    // Requests of it were given back to their callers: nothing new is sent
    // before it, or it could be overtaken by their old copies.
    bool orphans = false;
    Path* asked = nullptr;  // where the FENCE was sent; null: to be sent
    absl::Time since;
    absl::Time log_at;  // when to say next that it waits
  };

  // PathHost:
  absl::Status OnPathReady(const Path& path) override;
  absl::Status OnResponse(Path* path, uint16_t cid,
                          const wire::IoResponseImm& response) override;
  void OnSendCompletion(Path* path, uint32_t permit) override;
  void OnFenceDone(Path* path, const wire::FenceImm& fence) override;
  void OnNotice(uint32_t payload) override;

  // The one function that moves the state.
  void SetState(SessionState state, const absl::Status& why);
  absl::Status Prepare();
  absl::Status SetLimits(const PathLimits& limits);
  void DrainEvents(absl::Time now);
  // Looks at what the paths have become: tears down failed ones, starts the
  // next, and moves the session's state.
  void UpdatePaths(absl::Time now);
  void TearDownDue(absl::Time now);
  void TearDown(Slot* slot, absl::Time now);
  void UpdateState();
  bool IsOpen() const {
    return state_ == SessionState::kConnecting ||
           state_ == SessionState::kConnected ||
           state_ == SessionState::kDisconnected;
  }
  bool AnyPath(PathState state) const;
  bool AllClosed() const;

  // session_paths.cc
  void AddSlot(const PathSpec& spec);
  std::unique_ptr<Slot>* FindSlot(const PathSpec& spec);
  void StartPaths(absl::Time now);
  bool MayStart(const Slot& slot, absl::Time now) const;
  // When an attempt may begin beside those that are running, none of which has
  // brought the session up yet.
  absl::Time NextFirstAttempt() const;
  void ForgetRemoved();
  absl::Time NextAttempt() const;
  Path* PickPath(const Request& request);

  // session_failover.cc
  // `path` is torn down: holds what was in flight on it, to be sent again.
  void HoldInFlight(Path* path, absl::Time now);
  // No path is left: gives back everything that is held.
  void AbandonHeld(int error);
  // `request` is held, and given up.
  void AbandonOne(Request* request);
  void AskFences(absl::Time now);
  void ResendHeld();
  bool Barrier() const;

  void Dispatch();
  // False when `request` has to wait on.
  bool TrySend(Request* request);
  // Posts the request of `permit` to `path`.
  void Post(uint32_t permit, Path* path);
  // `permit`'s request is through on the wire: frees everything it held.
  void Complete(uint32_t permit, int error, bool local);
  void Finish(Request* request, int error, bool local);
  // Calls `done` of everything that was finished before; true if any.
  bool RunCallbacks();
  uint8_t* HeaderSlot(uint32_t permit) const;

  fabric::Fabric* const fabric_;
  Clock* const clock_;
  Random* const random_;
  const SessionOptions options_;
  SessionObserver* const observer_;

  SessionState state_ = SessionState::kIdle;
  uint32_t generation_ = 1;
  SessionLimits limits_;
  std::unique_ptr<fabric::ProtectionDomain> pd_;
  RegisteredMemory headers_;  // a slot per permit
  std::optional<DataMemory> data_;
  std::optional<Permits> permits_;
  std::vector<InFlight> in_flight_;  // by permit
  RequestList waiting_;
  RequestList finished_;
  std::vector<Fence> fences_;
  std::deque<uint32_t> resend_;  // permits that may be sent again now
  absl::Status first_failure_;   // of a path, while none has been up
  absl::Status last_failure_;
  Path::Env env_;
  std::vector<std::unique_ptr<Slot>> slots_;
  size_t last_used_ = 0;  // of slots_, for round-robin
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_SESSION_IMPL_H_
