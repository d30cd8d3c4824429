// The client engine behind session.h. Private to rtrs/client.
#ifndef RTRS_CLIENT_SESSION_IMPL_H_
#define RTRS_CLIENT_SESSION_IMPL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

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

 private:
  // Where a request is: Request::Private::state.
  enum RequestState : uint8_t {
    kFree,      // the caller's
    kWaiting,   // in waiting_, for a path and a permit
    kInFlight,  // has a permit and was posted to a path
    kFinished,  // in finished_, until `done` is called
  };

  // What a permit is used for.
  struct InFlight {
    Request* request = nullptr;  // null: the permit is free
    Path* path = nullptr;
    uint16_t cid = 0;
    bool reading = false;   // the send queue may still read the data
    bool answered = false;  // the response came while `reading`
    int error = 0;          // of the response
    DataBuffer data;
  };

  // PathHost:
  absl::Status OnPathReady(const Path& path) override;
  absl::Status OnResponse(Path* path, uint16_t cid,
                          const wire::IoResponseImm& response) override;
  void OnSendCompletion(Path* path, uint32_t permit) override;

  // The one function that moves the state.
  void SetState(SessionState state, const absl::Status& why);
  absl::Status Prepare();
  void DrainEvents(absl::Time now);
  // Looks at what the paths have become: tears down failed ones, starts the
  // next, and moves the session's state.
  void UpdatePaths(absl::Time now);
  void StartPaths(absl::Time now);
  void TearDown(Path* path);
  void UpdateState();
  bool AnyPath(PathState state) const;

  void Dispatch();
  // False when `request` has to wait on.
  bool TrySend(Request* request);
  Path* PickPath(const Request& request) const;
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
  SessionLimits limits_;
  std::unique_ptr<fabric::ProtectionDomain> pd_;
  RegisteredMemory headers_;  // a slot per permit
  std::optional<DataMemory> data_;
  std::optional<Permits> permits_;
  std::vector<InFlight> in_flight_;  // by permit
  RequestList waiting_;
  RequestList finished_;
  absl::Status first_failure_;  // of a path, while none has been up
  absl::Status last_failure_;
  Path::Env env_;
  std::vector<std::unique_ptr<Path>> paths_;
  size_t paths_started_ = 0;
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_SESSION_IMPL_H_
