#include "rtrs/client/wait_word.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace rtrs::client {

void WaitWord::Wait(uint32_t value, absl::Duration timeout) {
  const timespec ts = absl::ToTimespec(
      std::clamp(timeout, absl::ZeroDuration(), absl::Hours(1)));
  syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, value, &ts, nullptr, 0);
}

void WaitWord::Wake(std::atomic<uint32_t>* address) {
  syscall(SYS_futex, address, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace rtrs::client
