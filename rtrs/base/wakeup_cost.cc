#include "rtrs/base/wakeup_cost.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <thread>

#include "rtrs/base/clock.h"

namespace rtrs {
namespace {

constexpr absl::Duration kUnknown = absl::Microseconds(40);
// The first of them find the new thread still starting; of the others the
// median counts.
constexpr size_t kUncounted = 4;
constexpr size_t kRounds = 15;
// Of one round; a machine that is so busy tells nothing.
constexpr int kPatienceMs = 1000;

class EventFd {
 public:
  EventFd() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;
  ~EventFd() {
    if (fd_ >= 0) close(fd_);
  }
  bool valid() const { return fd_ >= 0; }
  bool Raise() const {
    const uint64_t one = 1;
    return write(fd_, &one, sizeof(one)) == ssize_t{sizeof(one)};
  }
  // Sleeps until it is raised; false: not in time.
  bool Wait() const {
    pollfd fd = {fd_, POLLIN, 0};
    uint64_t count;
    return poll(&fd, 1, kPatienceMs) == 1 &&
           read(fd_, &count, sizeof(count)) == ssize_t{sizeof(count)};
  }

 private:
  const int fd_;
};

absl::Duration Measure() {
  const EventFd there;
  const EventFd back;
  if (!there.valid() || !back.valid()) return kUnknown;
  // The new thread inherits the mask: signals are for the program's others.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread echo([&there, &back] {
    for (size_t i = 0; i < kUncounted + kRounds; ++i) {
      if (!there.Wait() || !back.Raise()) return;
    }
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);

  std::array<absl::Duration, kRounds> rounds;
  bool measured = true;
  for (size_t i = 0; measured && i < kUncounted + kRounds; ++i) {
    const absl::Time start = Clock::System()->Now();
    measured = there.Raise() && back.Wait();
    if (i >= kUncounted) {
      rounds[i - kUncounted] = Clock::System()->Now() - start;
    }
  }
  echo.join();
  if (!measured) return kUnknown;
  std::sort(rounds.begin(), rounds.end());
  return rounds[kRounds / 2] / 2;
}

}  // namespace

absl::Duration WakeupCost() {
  static const absl::Duration cost = Measure();
  return cost;
}

}  // namespace rtrs
