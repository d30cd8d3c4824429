// The lock around a session and its channel.
//
// Made for two habits: most threads only try it, and who holds it looks after
// the unlock for work that was left by those who tried in vain. That needs one
// total order of lock and list operations, hence sequential consistency.
#ifndef RTRS_CLIENT_ENGINE_LOCK_H_
#define RTRS_CLIENT_ENGINE_LOCK_H_

#include <sched.h>
#include <time.h>

#include <atomic>

#include "absl/base/thread_annotations.h"

namespace rtrs::client {

class ABSL_LOCKABLE EngineLock {
 public:
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    return !locked_.exchange(true, std::memory_order_seq_cst);
  }
  // For holders to be: pollers and who cancels. The lock is held for a system
  // call or two, but for as long as it spins by a poller.
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    for (int i = 0; !TryLock(); ++i) {
      if (i < 200) {
        sched_yield();
      } else {
        const timespec nap = {0, 20'000};
        nanosleep(&nap, nullptr);
      }
    }
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() {
    locked_.store(false, std::memory_order_seq_cst);
  }

 private:
  std::atomic<bool> locked_{false};
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_ENGINE_LOCK_H_
