#include "server/pool_engine.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

#include "rtrs/base/errno_status.h"
#include "rtrs/base/mutex.h"
#include "server/blocking_io.h"

namespace rnbd::server {

absl::StatusOr<std::unique_ptr<PoolEngine>> PoolEngine::Create(
    BlockingPool* pool) {
  UniqueFd event(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!event.is_set()) return rtrs::ErrnoError(errno, "eventfd");
  return std::unique_ptr<PoolEngine>(new PoolEngine(pool, std::move(event)));
}

PoolEngine::PoolEngine(BlockingPool* pool, UniqueFd event)
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
  if (!std::exchange(armed_, false)) return;
  const uint64_t one = 1;
  // Fails only if the counter is full: then it is readable anyway.
  if (write(event_.get(), &one, sizeof(one)) < 0) return;
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
  uint64_t count = 0;
  // EAGAIN when nothing was signalled since the last time.
  if (read(event_.get(), &count, sizeof(count)) < 0) count = 0;
  rtrs::MutexLock lock(&mutex_);
  armed_ = finished_ == nullptr;
  return armed_;
}

}  // namespace rnbd::server
