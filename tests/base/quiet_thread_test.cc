#include "rtrs/base/quiet_thread.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

namespace rtrs {
namespace {

bool IsBlocked(int signal) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, signal) == 1;
}

TEST(QuietThreadTest, GetsNoSignalsAndItsStarterStillDoes) {
  bool blocked = false;
  std::thread thread = StartQuietThread(
      [&blocked] { blocked = IsBlocked(SIGTERM) && IsBlocked(SIGUSR1); });
  thread.join();
  EXPECT_TRUE(blocked);
  EXPECT_FALSE(IsBlocked(SIGTERM));
}

}  // namespace
}  // namespace rtrs
