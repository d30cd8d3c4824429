#include "rtrs/server/worker.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/server/connection.h"
#include "rtrs/server/control.h"

namespace rtrs::server {
absl::StatusOr<std::unique_ptr<WorkerImpl>> WorkerImpl::Create(
    int index, const std::vector<fabric::Fabric*>& fabrics, Clock* clock) {
  auto worker = absl::WrapUnique(new WorkerImpl(index, clock));
  RTRS_RETURN_IF_ERROR(worker->Init(fabrics));
  return worker;
}

absl::Status WorkerImpl::Init(const std::vector<fabric::Fabric*>& fabrics) {
  RTRS_ASSIGN_OR_RETURN(epoll_, EpollFd::Create());
  RTRS_ASSIGN_OR_RETURN(event_, EventFd::Create());
  RTRS_RETURN_IF_ERROR(epoll_.Watch(event_.fd(), EPOLLIN));
  for (fabric::Fabric* fabric : fabrics) {
    RTRS_ASSIGN_OR_RETURN(auto port, Port::Create(fabric));
    RTRS_RETURN_IF_ERROR(epoll_.Watch(port->channel()->fd(), EPOLLIN));
    ports_.push_back(std::move(port));
  }
  return absl::OkStatus();
}

void WorkerImpl::Post(std::function<void()> task) { PostTask(std::move(task)); }

void WorkerImpl::PostTask(absl::AnyInvocable<void()> task) {
  MutexLock lock(&mutex_);
  tasks_.push_back(std::move(task));
  has_tasks_.store(true, std::memory_order_release);
  if (!std::exchange(armed_, false)) return;
  // Raised under the lock, so that RunTasks finds it there to read back.
  event_raised_ = true;
  event_.Raise();
}

void WorkerImpl::AddHook(WorkerHook* hook) {
  hooks_.push_back(hook);
  if (absl::Status status = epoll_.Watch(hook->fd(), EPOLLIN); !status.ok()) {
    RTRS_LOG(critical, "worker {}: cannot watch an I/O engine: {}", index_,
             status);
  }
}

bool WorkerImpl::RunTasks() {
  if (!has_tasks_.load(std::memory_order_acquire)) return false;
  std::vector<absl::AnyInvocable<void()>> tasks;
  bool raised = false;
  {
    MutexLock lock(&mutex_);
    tasks.swap(tasks_);
    has_tasks_.store(false, std::memory_order_relaxed);
    armed_ = false;
    raised = std::exchange(event_raised_, false);
  }
  if (raised) event_.Clear();
  for (auto& task : tasks) task();
  return !tasks.empty();
}

bool WorkerImpl::PollPort(size_t index) {
  Port* port = ports_[index].get();
  bool busy = port->channel()->Progress();
  fabric::CmEvent event;
  while (port->channel()->NextEvent(&event)) {
    busy = true;
    if (event.type == fabric::CmEvent::Type::kConnectRequest) {
      control_->OnConnectRequest(index, std::move(event.request));
    } else if (event.qp != nullptr) {
      static_cast<Connection*>(event.qp->context())->HandleEvent(event);
    }
  }
  for (size_t i = 0; i < port->cqs().size(); ++i) {
    const int n = port->cqs()[i]->queue->Poll(absl::MakeSpan(polled_));
    busy |= n > 0;
    completions_ += static_cast<uint64_t>(n);
    for (int k = 0; k < n; ++k) {
      static_cast<Connection*>(polled_[k].qp->context())
          ->HandleCompletion(polled_[k]);
    }
  }
  return busy;
}

bool WorkerImpl::Progress() {
  bool busy = RunTasks();
  for (size_t i = 0; i < ports_.size(); ++i) busy |= PollPort(i);
  for (WorkerHook* hook : hooks_) busy |= hook->Progress();
  if (control_ != nullptr) busy |= control_->Tick();
  if (!leaving_.empty()) ExpireLeaving();
  busy |= Reap();
  for (auto& port : ports_) port->Flush();
  return busy;
}

bool WorkerImpl::Arm() {
  {
    MutexLock lock(&mutex_);
    if (!tasks_.empty()) return false;
    armed_ = true;
  }
  for (auto& port : ports_) {
    if (!port->channel()->Arm()) return false;
  }
  for (WorkerHook* hook : hooks_) {
    if (!hook->Arm()) return false;
  }
  return true;
}

absl::Time WorkerImpl::NextDeadline() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& port : ports_) {
    next = std::min(next, port->channel()->NextDeadline());
  }
  for (const Leaving& leaving : leaving_) {
    next = std::min(next, leaving.deadline);
  }
  if (control_ != nullptr) next = std::min(next, control_->NextDeadline());
  return next;
}

void WorkerImpl::AddLeaving(Connection* connection, absl::Time deadline) {
  leaving_.push_back({connection, deadline});
}

void WorkerImpl::AddReapable(Connection* connection) {
  std::erase_if(leaving_, [connection](const Leaving& leaving) {
    return leaving.connection == connection;
  });
  reapable_.push_back(connection);
}

void WorkerImpl::ExpireLeaving() {
  const absl::Time now = clock_->Now();
  for (size_t i = 0; i < leaving_.size();) {
    if (now < leaving_[i].deadline) {
      ++i;
      continue;
    }
    leaving_[i].connection->GiveUpWaiting();  // takes it out of leaving_
  }
}

bool WorkerImpl::Reap() {
  if (reapable_.empty()) return false;
  for (Connection* connection : std::exchange(reapable_, {})) {
    connection->DestroyQueuePair();
  }
  return true;
}

}  // namespace rtrs::server
