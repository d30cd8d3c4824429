// A worker: the connections that one thread serves, their fabrics and I/O
// engines. See server.h for the interface.
//
// Everything but Post runs on the worker's thread. Connections are not owned
// here; a connection that has lost its queue pair is told so at the end of a
// round (AddReapable), when no completion of it is in anyone's hands.
#ifndef RTRS_SERVER_WORKER_H_
#define RTRS_SERVER_WORKER_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/epoll_fd.h"
#include "rtrs/base/event_fd.h"
#include "rtrs/base/mutex.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/server/port.h"
#include "rtrs/server/server.h"

namespace rtrs::server {

class Connection;
class Control;

class WorkerImpl final : public Worker {
 public:
  static absl::StatusOr<std::unique_ptr<WorkerImpl>> Create(
      int index, const std::vector<fabric::Fabric*>& fabrics, Clock* clock);

  // Worker:
  int index() const override { return index_; }
  void Post(std::function<void()> task) override;
  void AddHook(WorkerHook* hook) override;
  bool Progress() override;
  uint64_t completions() const override { return completions_; }
  int fd() const override { return epoll_.fd(); }
  bool Arm() override;
  absl::Time NextDeadline() const override;

  // As Post, for tasks that cannot be copied.
  void PostTask(absl::AnyInvocable<void()> task);
  // Worker 0 runs `control`: connect requests and timers. Before the first
  // round.
  void set_control(Control* control) { control_ = control; }
  Port* port(size_t index) { return ports_[index].get(); }
  absl::Time Now() { return clock_->Now(); }

  // `connection` waits for its queue pair to end, until `deadline` at most.
  void AddLeaving(Connection* connection, absl::Time deadline);
  // `connection` may give up its queue pair at the end of the round.
  void AddReapable(Connection* connection);

 private:
  // Completions taken from one queue in one round. Many responses share a
  // system call, but the first does not wait for too many others.
  static constexpr size_t kPollBatch = 64;

  struct Leaving {
    Connection* connection;
    absl::Time deadline;
  };

  WorkerImpl(int index, Clock* clock) : index_(index), clock_(clock) {}
  absl::Status Init(const std::vector<fabric::Fabric*>& fabrics);
  bool RunTasks();
  bool PollPort(size_t index);
  void ExpireLeaving();
  bool Reap();

  const int index_;
  Clock* const clock_;
  EpollFd epoll_;
  EventFd event_;
  std::vector<std::unique_ptr<Port>> ports_;  // by fabric
  std::vector<WorkerHook*> hooks_;
  Control* control_ = nullptr;
  std::vector<Leaving> leaving_;
  std::vector<Connection*> reapable_;
  uint64_t completions_ = 0;
  // Those of PollPort: to clear them in each round takes longer than the round.
  std::array<fabric::WorkCompletion, kPollBatch> polled_;

  std::atomic<bool> has_tasks_{false};
  Mutex mutex_;
  std::vector<absl::AnyInvocable<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  // The worker may be asleep: the next task must raise event_.
  bool armed_ ABSL_GUARDED_BY(mutex_) = false;
  bool event_raised_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_WORKER_H_
