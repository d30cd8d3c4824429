// A word that a thread sleeps on: futex(2), private to the process.
#ifndef RTRS_CLIENT_WAIT_WORD_H_
#define RTRS_CLIENT_WAIT_WORD_H_

#include <atomic>
#include <cstdint>

#include "absl/time/time.h"

namespace rtrs::client {

// Belongs to the thread that waits. It may be destroyed while a Wake is still
// running elsewhere, as long as its thread has seen the new value.
class WaitWord {
 public:
  void Set(uint32_t value) { word_.store(value, std::memory_order_release); }
  uint32_t Get() const { return word_.load(std::memory_order_acquire); }

  // Sleeps while the word is `value`, `timeout` at the longest. May return
  // early.
  void Wait(uint32_t value, absl::Duration timeout);
  // Address for Wake, which only the kernel looks at.
  std::atomic<uint32_t>* address() { return &word_; }
  static void Wake(std::atomic<uint32_t>* address);

 private:
  std::atomic<uint32_t> word_{0};
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_WAIT_WORD_H_
