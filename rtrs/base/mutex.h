// Mutex, condition variable and notification with Clang's thread annotations,
// over the standard library.
//
// Not those of Abseil: the distribution's library is not built with the thread
// sanitizer, which then sees no order in what they protect and reports races
// that are none.
#ifndef RTRS_BASE_MUTEX_H_
#define RTRS_BASE_MUTEX_H_

#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace rtrs {

class ABSL_LOCKABLE Mutex {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void Unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

  // For std::condition_variable_any and std::unique_lock.
  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex)
      : mutex_(mutex) {
    mutex_->Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

// Waits may end without a reason: ask again for what is waited for.
class CondVar {
 public:
  void Wait(Mutex* mutex) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    condition_.wait(*mutex);
  }
  // `deadline` in the time of absl::Now. True if it has passed.
  bool WaitWithDeadline(Mutex* mutex, absl::Time deadline)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (deadline == absl::InfiniteFuture()) {
      condition_.wait(*mutex);
      return false;
    }
    return condition_.wait_until(*mutex, absl::ToChronoTime(deadline)) ==
           std::cv_status::timeout;
  }
  void Signal() { condition_.notify_one(); }
  void SignalAll() { condition_.notify_all(); }

 private:
  std::condition_variable_any condition_;
};

// Something that happens once. Any thread.
class Notification {
 public:
  void Notify() {
    MutexLock lock(&mutex_);
    happened_ = true;
    condition_.SignalAll();
  }
  bool HasBeenNotified() const {
    MutexLock lock(&mutex_);
    return happened_;
  }
  void WaitForNotification() const {
    MutexLock lock(&mutex_);
    while (!happened_) condition_.Wait(&mutex_);
  }
  // False if it has not happened at `deadline`, in the time of absl::Now.
  bool WaitForNotificationWithDeadline(absl::Time deadline) const {
    MutexLock lock(&mutex_);
    while (!happened_) {
      if (condition_.WaitWithDeadline(&mutex_, deadline)) return happened_;
    }
    return true;
  }
  bool WaitForNotificationWithTimeout(absl::Duration timeout) const {
    return WaitForNotificationWithDeadline(absl::Now() + timeout);
  }

 private:
  mutable Mutex mutex_;
  mutable CondVar condition_;
  bool happened_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace rtrs

#endif  // RTRS_BASE_MUTEX_H_
