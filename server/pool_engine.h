// Storage operations by the threads of a BlockingPool. For machines without
// io_uring, and for what io_uring cannot do.
#ifndef SERVER_POOL_ENGINE_H_
#define SERVER_POOL_ENGINE_H_

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "rtrs/base/event_fd.h"
#include "rtrs/base/mutex.h"
#include "server/blocking_pool.h"
#include "server/storage_engine.h"

namespace rnbd::server {

// Belongs to one worker. The pool must be destroyed first.
class PoolEngine : public StorageEngine {
 public:
  static absl::StatusOr<std::unique_ptr<PoolEngine>> Create(BlockingPool* pool);

  void Submit(StorageOp* op) override;
  void ForgetFile(uint32_t, uint64_t) override {}
  void ForgetMemory(int16_t) override {}
  const char* name() const override { return "threads"; }

  bool Progress() override;
  size_t in_flight() const override { return in_flight_; }
  int fd() const override { return event_.fd(); }
  bool Arm() override;

 private:
  PoolEngine(BlockingPool* pool, rtrs::EventFd event);
  void Finished(StorageOp* op);  // in a thread of the pool

  BlockingPool* const pool_;
  const rtrs::EventFd event_;
  size_t in_flight_ = 0;

  rtrs::Mutex mutex_;
  // Newest first.
  StorageOp* finished_ ABSL_GUARDED_BY(mutex_) = nullptr;
  // The worker may sleep, so that `event_` must be raised.
  bool armed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace rnbd::server

#endif  // SERVER_POOL_ENGINE_H_
