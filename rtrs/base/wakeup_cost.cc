#include "rtrs/base/wakeup_cost.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <thread>

#include "absl/status/statusor.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/event_fd.h"
#include "rtrs/base/quiet_thread.h"

namespace rtrs {
namespace {

constexpr absl::Duration kUnknown = absl::Microseconds(40);
// The first of them find the new thread still starting; of the others the
// median counts.
constexpr size_t kUncounted = 4;
constexpr size_t kRounds = 15;
// Of one round; a machine that is so busy tells nothing.
constexpr int kPatienceMs = 1000;

// Sleeps until `event` is raised; false: not in time.
bool Await(const EventFd& event) {
  pollfd fd = {event.fd(), POLLIN, 0};
  return poll(&fd, 1, kPatienceMs) == 1 && event.Clear();
}

absl::Duration Measure() {
  const absl::StatusOr<EventFd> there = EventFd::Create();
  const absl::StatusOr<EventFd> back = EventFd::Create();
  if (!there.ok() || !back.ok()) return kUnknown;
  std::thread echo = StartQuietThread([&there, &back] {
    for (size_t i = 0; i < kUncounted + kRounds; ++i) {
      if (!Await(*there)) return;
      back->Raise();
    }
  });

  std::array<absl::Duration, kRounds> rounds;
  bool measured = true;
  for (size_t i = 0; measured && i < kUncounted + kRounds; ++i) {
    const absl::Time start = Clock::System()->Now();
    there->Raise();
    measured = Await(*back);
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
