// Flat combining behind blocking_session.h. Private to rtrs/client.
//
// Two things belong to one thread at a time:
//   the engine (engine_): session and channel. Held while they are used, and
//     all the time while a poller spins; free while the poller sleeps.
//   the role of the poller (poller_): who waits on the channel's descriptor.
//
// A call pushes its requests and tries the engine. If that is free the caller
// sends them itself, also while the poller sleeps; if not, the holder finds
// them before it sleeps or leaves. While many answers are about to come it does
// not even try: whoever takes the next answer sends what was pushed. Then the
// caller polls if nobody does, or yields for a while and then sleeps on its own
// word until its requests are done or the role is given to it. The housekeeper
// has the role while no call is running; a call takes it without waking the
// housekeeper.
#ifndef RTRS_CLIENT_BLOCKING_SESSION_IMPL_H_
#define RTRS_CLIENT_BLOCKING_SESSION_IMPL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "rtrs/base/epoll_fd.h"
#include "rtrs/base/event_fd.h"
#include "rtrs/base/mutex.h"
#include "rtrs/base/wakeup_cost.h"
#include "rtrs/client/blocking_session.h"
#include "rtrs/client/call_yield.h"
#include "rtrs/client/engine_lock.h"
#include "rtrs/client/send_batching.h"
#include "rtrs/client/spin_budget.h"
#include "rtrs/client/submission_list.h"
#include "rtrs/client/wait_word.h"

namespace rtrs::client {

class BlockingSessionImpl : public BlockingSession, private SessionObserver {
 public:
  BlockingSessionImpl(fabric::Fabric* fabric, SessionOptions options);
  ~BlockingSessionImpl() override;

  // What Open does. Once, before anything else.
  absl::Status Connect();

  void Run(absl::Span<Request* const> requests, absl::Time deadline) override;
  void Submit(Request* request) override;
  SessionState state() const override {
    return state_.load(std::memory_order_acquire);
  }
  SessionLimits limits() const override {
    MutexLock lock(&limits_mu_);
    return limits_;
  }
  uint32_t generation() const override {
    return generation_.load(std::memory_order_acquire);
  }
  absl::Status ChangePath(PathChange change, const PathSpec& spec) override;
  std::vector<PathInfo> paths() const override;
  void SetStateCallback(
      std::function<void(SessionState, const absl::Status&)> callback) override;
  void SetNoticeCallback(
      std::function<void(uint32_t payload)> callback) override;

 private:
  // What the word of a sleeping call says.
  enum Word : uint32_t { kAsleep, kDone, kMustPoll };

  // One running Run, on the stack of its thread.
  struct Call {
    BlockingSessionImpl* session = nullptr;
    absl::Span<Request* const> requests;
    int64_t started_ns = 0;
    int64_t deadline_ns = 0;
    int64_t log_ns = 0;         // when to say next that it waits
    size_t pending = 0;         // requests that are not done; of the engine
    Call* next_done = nullptr;  // in done_calls_
    // Done while it was awake; written with role_mu_.
    std::atomic<bool> done{false};
    bool asleep = false;  // of role_mu_: in the list of sleepers
    Call* next = nullptr;
    Call* previous = nullptr;
    WaitWord word;
  };
  // Words of sleepers to wake when no lock is held.
  using WakeList = std::vector<std::atomic<uint32_t>*>;

  // Called by whoever has the engine.
  static void OnRequestDone(Request* request) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  static void OnAsyncDone(Request* request) ABSL_NO_THREAD_SAFETY_ANALYSIS;
  void OnSessionState(SessionState state, const absl::Status& why) override;
  void OnNotice(uint32_t payload) override;

  // One request, for which little has to be copied.
  static bool IsShort(const Call& self);
  // How long to spin for the next answer, ns. With several long requests all
  // processors have enough to copy, and a spinner would take one from them.
  int64_t SpinBudgetFor(const Call& self) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(engine_);
  // Whether what `self` pushed should wait for the next poller.
  bool LeaveToPoller(const Call& self) const;
  // Gives the session what was pushed.
  void DrainSubmissions() ABSL_EXCLUSIVE_LOCKS_REQUIRED(engine_);
  // For those who have the engine without the role: sends what was pushed.
  void SendSubmissions(WakeList* wake) ABSL_EXCLUSIVE_LOCKS_REQUIRED(engine_);
  // Tells the calls that are complete, except `self`, the polling one that
  // looks for itself; null if there is none.
  void MarkDone(const Call* self, WakeList* wake)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(engine_) ABSL_LOCKS_EXCLUDED(role_mu_);
  // Unlocks, and sends what others pushed in vain meanwhile.
  void ReleaseEngine(WakeList* wake) ABSL_UNLOCK_FUNCTION(engine_);
  // SendSubmissions, ReleaseEngine and WakeAll.
  void SendAndRelease() ABSL_UNLOCK_FUNCTION(engine_);
  void CancelRest(Call* self, WakeList* wake)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(engine_);
  static void WakeAll(WakeList* wake);
  void LogWait(Call* self, int64_t now_ns) const;

  // Takes the role if no other call has it.
  bool TryTakeRole(Call* self) ABSL_LOCKS_EXCLUDED(role_mu_);
  bool TryTakeRoleLocked(Call* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(role_mu_);
  // Gives the role to a sleeper, or to nobody.
  void LeaveRole(WakeList* wake) ABSL_EXCLUSIVE_LOCKS_REQUIRED(engine_)
      ABSL_LOCKS_EXCLUDED(role_mu_);
  void RemoveSleeper(Call* call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(role_mu_);

  // With engine and role: polls until `self` is done, then leaves both.
  void Poll(Call* self) ABSL_UNLOCK_FUNCTION(engine_);
  // Sleeps on the descriptor without the engine.
  void SleepAsPoller(const Call& self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(engine_);
  // Lets others run, up to some times, until `self` is done (true) or nobody
  // polls.
  bool YieldUntilDone(const Call& self);
  // Returns with the role (true) or when `self` is done (false). `left`: its
  // request was left to the next poller.
  bool WaitForTurn(Call* self, bool left) ABSL_LOCKS_EXCLUDED(role_mu_);

  // The housekeeper's thread.
  void Housekeep();
  // Has the housekeeper the role, or takes it now?
  bool HousekeeperPolls(uint64_t* seen_calls) ABSL_LOCKS_EXCLUDED(role_mu_);
  // One round; returns how long to sleep.
  absl::Duration PollAsHousekeeper(WakeList* wake)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(engine_) ABSL_LOCKS_EXCLUDED(role_mu_);
  void WatchChannel(bool on) ABSL_EXCLUSIVE_LOCKS_REQUIRED(role_mu_);
  void PumpUntil(absl::Time deadline, bool (*done)(SessionState));

  fabric::Fabric* const fabric_;
  const SessionOptions options_;
  std::atomic<SessionState> state_{SessionState::kIdle};
  std::atomic<uint32_t> generation_{1};
  absl::Status why_;  // of the last state, while connecting and closing
  // Apart from the callback's: a callback may wait for who asks for them.
  mutable Mutex limits_mu_;
  SessionLimits limits_ ABSL_GUARDED_BY(limits_mu_);
  Mutex callback_mu_;
  std::function<void(SessionState, const absl::Status&)> callback_
      ABSL_GUARDED_BY(callback_mu_);
  std::function<void(uint32_t)> notice_callback_ ABSL_GUARDED_BY(callback_mu_);

  SubmissionList submissions_;
  std::atomic<uint64_t> calls_{0};    // of Run, all so far
  std::atomic<uint32_t> running_{0};  // calls of Run that have not returned
  SendBatching batching_;
  CallYield yield_{absl::ToInt64Nanoseconds(WakeupCost())};

  mutable EngineLock engine_;
  std::unique_ptr<fabric::EventChannel> channel_;
  std::unique_ptr<Session> session_;
  Call* done_calls_ ABSL_GUARDED_BY(engine_) = nullptr;
  size_t async_in_flight_ ABSL_GUARDED_BY(engine_) = 0;  // of Submit
  SpinBudget spin_ ABSL_GUARDED_BY(engine_){
      absl::ToInt64Nanoseconds(WakeupCost())};

  // Taken behind the engine, if both.
  Mutex role_mu_;
  std::atomic<bool> poller_{false};  // somebody has it; written with role_mu_
  bool housekeeper_polls_ ABSL_GUARDED_BY(role_mu_) = false;  // and it is him
  bool watching_ ABSL_GUARDED_BY(role_mu_) = false;     // he, the descriptor
  bool async_waits_ ABSL_GUARDED_BY(role_mu_) = false;  // for a poller
  Call* polling_call_ ABSL_GUARDED_BY(role_mu_) = nullptr;
  Call* first_sleeper_ ABSL_GUARDED_BY(role_mu_) = nullptr;  // oldest
  Call* last_sleeper_ ABSL_GUARDED_BY(role_mu_) = nullptr;
  std::atomic<bool> poller_sleeps_{false};  // a call, on the descriptor

  EventFd kick_;  // wakes the call that sleeps as poller
  EventFd housekeeper_kick_;
  EpollFd housekeeper_epoll_;  // his kicks, and the channel if watching_
  std::atomic<bool> stopping_{false};
  std::thread housekeeper_;
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_BLOCKING_SESSION_IMPL_H_
