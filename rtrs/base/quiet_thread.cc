#include "rtrs/base/quiet_thread.h"

#include <pthread.h>
#include <signal.h>

#include <utility>

#include "absl/cleanup/cleanup.h"

namespace rtrs {

std::thread StartQuietThread(std::function<void()> body) {
  // The new thread inherits the mask.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const auto restore = absl::MakeCleanup(
      [&before] { pthread_sigmask(SIG_SETMASK, &before, nullptr); });
  return std::thread(std::move(body));
}

}  // namespace rtrs
