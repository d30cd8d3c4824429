#include "server/pool_engine.h"

#include <utility>

#include "rtrs/base/mutex.h"
#include "rtrs/base/status_macros.h"
#include "server/blocking_io.h"

namespace rnbd::server {

absl::StatusOr<std::unique_ptr<PoolEngine>> PoolEngine::Create(
    BlockingPool* pool) {
  RTRS_ASSIGN_OR_RETURN(rtrs::EventFd event, rtrs::EventFd::Create());
  return std::unique_ptr<PoolEngine>(new PoolEngine(pool, std::move(event)));
}

PoolEngine::PoolEngine(BlockingPool* pool, rtrs::EventFd event)
    : pool_(pool), event_(std::move(event)) {}

void PoolEngine::Submit(StorageOp* op) {
  ++in_flight_;
  pool_->Run([this, op] {
    op->result = PerformBlocking(op);
    Finished(op);
  });
}

void PoolEngine::Finished(StorageOp* op) {
  rtrs::MutexLock lock(&mutex_);
  op->next = std::exchange(finished_, op);
  if (std::exchange(armed_, false)) event_.Raise();
}

bool PoolEngine::Progress() {
  if (in_flight_ == 0) return false;
  StorageOp* newest = nullptr;
  {
    rtrs::MutexLock lock(&mutex_);
    armed_ = false;
    newest = std::exchange(finished_, nullptr);
  }
  StorageOp* oldest = nullptr;
  while (newest != nullptr) {
    StorageOp* next = std::exchange(newest->next, oldest);
    oldest = std::exchange(newest, next);
  }
  const bool any = oldest != nullptr;
  while (oldest != nullptr) {
    StorageOp* op = std::exchange(oldest, oldest->next);
    --in_flight_;
    op->done(op, op->result);
  }
  return any;
}

bool PoolEngine::Arm() {
  event_.Clear();
  rtrs::MutexLock lock(&mutex_);
  armed_ = finished_ == nullptr;
  return armed_;
}

}  // namespace rnbd::server
