// A few threads for what may block: opening devices, storage operations that
// io_uring does not know, all of them where there is no io_uring.
#ifndef SERVER_BLOCKING_POOL_H_
#define SERVER_BLOCKING_POOL_H_

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "rtrs/base/mutex.h"

namespace rnbd::server {

class BlockingPool {
 public:
  // `name` of the threads: at most 12 bytes.
  BlockingPool(const std::string& name, int threads);
  // Finishes what was queued.
  ~BlockingPool();

  // Starts `task` in the order of the calls. Any thread.
  void Run(std::function<void()> task);

 private:
  void Loop();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !tasks_.empty();
  }

  rtrs::Mutex mutex_;
  rtrs::CondVar changed_;  // there is work, or an end to it
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace rnbd::server

#endif  // SERVER_BLOCKING_POOL_H_
