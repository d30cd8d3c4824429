// Something that happens once, waited for in another thread. Not
// absl::Notification: the distribution's library hides its order from the
// thread sanitizer.
#ifndef TESTS_RTRS_SERVER_EVENT_H_
#define TESTS_RTRS_SERVER_EVENT_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace rtrs::server {

class Event {
 public:
  void Notify() {
    const std::lock_guard<std::mutex> lock(mutex_);
    happened_ = true;
    condition_.notify_all();
  }
  // False if it did not happen within a minute.
  bool Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    return condition_.wait_until(
        lock, std::chrono::system_clock::now() + std::chrono::seconds(60),
        [this] { return happened_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool happened_ = false;
};

}  // namespace rtrs::server

#endif  // TESTS_RTRS_SERVER_EVENT_H_
