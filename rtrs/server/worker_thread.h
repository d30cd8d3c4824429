// Gives a Worker its thread: rounds of Progress, a little polling when there
// is nothing to do, then sleep until its file descriptors or deadlines call.
//
//   for (int i = 0; i < server->worker_count(); ++i) {
//     threads.push_back(std::make_unique<WorkerThread>(server->worker(i)));
//   }
//
// The thread runs from construction to Stop. It blocks all signals. Any thread
// may construct and stop it, but not the worker's own.
#ifndef RTRS_SERVER_WORKER_THREAD_H_
#define RTRS_SERVER_WORKER_THREAD_H_

#include <atomic>
#include <thread>

#include "absl/time/time.h"
#include "rtrs/server/server.h"

namespace rtrs::server {

class WorkerThread {
 public:
  // Three wake-ups of this machine, 100 us at least.
  static absl::Duration DefaultSpinLimit();

  // Gaps between requests that are longer than `spin_limit` are slept through
  // (spin_policy.h). `worker` is borrowed and must have been made with
  // Clock::System().
  explicit WorkerThread(Worker* worker,
                        absl::Duration spin_limit = DefaultSpinLimit());
  ~WorkerThread();
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;

  // Returns when the thread has ended. Requests in flight stay as they are;
  // Server::Shutdown first ends them in order.
  void Stop();

 private:
  void Run(int64_t spin_limit_ns);
  // Sleeps until the worker has something to do.
  void Sleep();

  Worker* const worker_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_WORKER_THREAD_H_
