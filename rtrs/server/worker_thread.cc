#include "rtrs/server/worker_thread.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/quiet_thread.h"
#include "rtrs/base/wakeup_cost.h"
#include "rtrs/server/spin_policy.h"

namespace rtrs::server {
namespace {

// A client that sends the next request once it has its answer needs 100 us for
// it when every thread on the way has to be woken, the worker too, and 30 us
// when the worker polls: a limit between the two would keep it in the slow
// mode.
constexpr absl::Duration kLeastSpinLimit = absl::Microseconds(160);

}  // namespace

absl::Duration WorkerThread::DefaultSpinLimit() {
  return std::max(kLeastSpinLimit, 3 * WakeupCost());
}

WorkerThread::WorkerThread(Worker* worker, absl::Duration spin_limit)
    : worker_(worker) {
  thread_ = StartQuietThread(
      [this, limit = absl::ToInt64Nanoseconds(spin_limit)] { Run(limit); });
}

WorkerThread::~WorkerThread() { Stop(); }

void WorkerThread::Stop() {
  if (!thread_.joinable()) return;
  stop_.store(true, std::memory_order_release);
  worker_->Post([] {});  // wakes it
  thread_.join();
}

void WorkerThread::Run(int64_t spin_limit_ns) {
  pthread_setname_np(pthread_self(),
                     absl::StrCat("rtrs-worker-", worker_->index()).c_str());
  SpinPolicy policy(spin_limit_ns);
  while (!stop_.load(std::memory_order_acquire)) {
    const uint64_t before = worker_->completions();
    if (worker_->Progress()) {
      policy.OnWork(MonotonicNs(), worker_->completions() - before);
      continue;
    }
    const int64_t now = MonotonicNs();
    if (policy.KeepPolling(now)) {
      sched_yield();
      policy.OnYield(now, MonotonicNs());
      continue;
    }
    Sleep();
  }
}

void WorkerThread::Sleep() {
  if (!worker_->Arm()) return;
  const absl::Time deadline = worker_->NextDeadline();
  timespec timeout;
  const bool timed = deadline != absl::InfiniteFuture();
  if (timed) {
    timeout = absl::ToTimespec(
        std::max(deadline - Clock::System()->Now(), absl::ZeroDuration()));
  }
  pollfd poll = {worker_->fd(), POLLIN, 0};
  ppoll(&poll, 1, timed ? &timeout : nullptr, nullptr);
}

}  // namespace rtrs::server
