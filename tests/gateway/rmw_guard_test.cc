#include "gateway/rmw_guard.h"

#include <optional>
#include <thread>

#include "gtest/gtest.h"
#include "rtrs/base/mutex.h"

namespace rnbd::gateway {
namespace {

TEST(RmwGuard, QuietWithoutLocks) {
  RmwGuard guard;
  const uint64_t seen = guard.Begin();
  EXPECT_FALSE(guard.Disturbed(seen, 0, 4096));
}

TEST(RmwGuard, LockFromBeforeToAfterDisturbs) {
  RmwGuard guard;
  const RmwGuard::Lock lock(&guard, 0, 512, RmwGuard::kRmw);
  const uint64_t seen = guard.Begin();
  EXPECT_TRUE(guard.Disturbed(seen, 0, 4096));
  EXPECT_FALSE(guard.Disturbed(seen, 512, 4096));
}

TEST(RmwGuard, LockThatEndedInBetweenDisturbs) {
  RmwGuard guard;
  std::optional<RmwGuard::Lock> lock;
  lock.emplace(&guard, 1024, 1536, RmwGuard::kRmw);
  const uint64_t seen = guard.Begin();
  lock.reset();
  EXPECT_TRUE(guard.Disturbed(seen, 0, 4096));
  EXPECT_FALSE(guard.Disturbed(seen, 0, 1024));
  EXPECT_FALSE(guard.Disturbed(seen, 1536, 2048));
}

TEST(RmwGuard, LockThatBeganAndEndedInBetweenDisturbs) {
  RmwGuard guard;
  const uint64_t seen = guard.Begin();
  { const RmwGuard::Lock lock(&guard, 1024, 1536, RmwGuard::kRmw); }
  EXPECT_TRUE(guard.Disturbed(seen, 0, 4096));
}

TEST(RmwGuard, LockThatEndedBeforeDoesNotDisturb) {
  RmwGuard guard;
  { const RmwGuard::Lock lock(&guard, 0, 4096, RmwGuard::kRmw); }
  const uint64_t seen = guard.Begin();
  EXPECT_FALSE(guard.Disturbed(seen, 0, 4096));
}

TEST(RmwGuard, OverlapIsFoundAmongManyOthers) {
  RmwGuard guard;
  const uint64_t seen = guard.Begin();
  { const RmwGuard::Lock lock(&guard, 0, 512, RmwGuard::kRmw); }
  for (int i = 0; i < 40; ++i) {
    const RmwGuard::Lock lock(&guard, 8192, 8704, RmwGuard::kRmw);
  }
  EXPECT_TRUE(guard.Disturbed(seen, 0, 512));
  EXPECT_FALSE(guard.Disturbed(seen, 512, 8192));
}

TEST(RmwGuard, MoreLocksThanItRemembersCountAsOverlap) {
  RmwGuard guard;
  const uint64_t seen = guard.Begin();
  for (int i = 0; i < 65; ++i) {
    const RmwGuard::Lock lock(&guard, 8192, 8704, RmwGuard::kRmw);
  }
  EXPECT_TRUE(guard.Disturbed(seen, 0, 512));
}

TEST(RmwGuard, WholeBlockLocksDoNotDisturb) {
  RmwGuard guard;
  const uint64_t seen = guard.Begin();
  const RmwGuard::Lock lock(&guard, 0, 512, RmwGuard::kWhole);
  EXPECT_FALSE(guard.Disturbed(seen, 0, 512));
}

TEST(RmwGuard, OverlappingLocksWait) {
  RmwGuard guard;
  std::optional<RmwGuard::Lock> first;
  first.emplace(&guard, 0, 1024, RmwGuard::kRmw);
  const RmwGuard::Lock beside(&guard, 1024, 2048, RmwGuard::kRmw);
  bool released = false;
  std::thread other([&] {
    const RmwGuard::Lock second(&guard, 512, 1024, RmwGuard::kWhole);
    EXPECT_TRUE(released);
  });
  released = true;
  first.reset();
  other.join();
}

}  // namespace
}  // namespace rnbd::gateway
