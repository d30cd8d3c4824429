#include "nbdkit-plugin/thread_placement.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace rnbd::plugin {
namespace {

cpu_set_t Allowed() {
  cpu_set_t set;
  EXPECT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  return set;
}

// Where a thread of `connection` may run, after its first and second request.
cpu_set_t Placed(uint32_t connection) {
  cpu_set_t set;
  std::thread([&] {
    PlaceThread(connection);
    PlaceThread(connection + 1);  // a thread is placed once
    set = Allowed();
  }).join();
  return set;
}

TEST(ThreadPlacementTest, ThreadsOfAConnectionStayTogether) {
  const cpu_set_t a = Placed(7);
  const cpu_set_t b = Placed(7);
  EXPECT_TRUE(CPU_EQUAL(&a, &b));
}

TEST(ThreadPlacementTest, OneOfFewProcessorsAndNotAllTheSame) {
  const cpu_set_t allowed = Allowed();
  const int count = CPU_COUNT(&allowed);
  const cpu_set_t a = Placed(0);
  const cpu_set_t b = Placed(1);
  if (count >= 2 && count <= kFewProcessors) {
    EXPECT_EQ(CPU_COUNT(&a), 1);
    EXPECT_FALSE(CPU_EQUAL(&a, &b));
  } else {
    EXPECT_TRUE(CPU_EQUAL(&a, &allowed));
  }
}

TEST(ThreadPlacementTest, UsersChoiceIsRespected) {
  std::thread([] {
    cpu_set_t allowed = Allowed();
    cpu_set_t one;
    CPU_ZERO(&one);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &allowed)) {
        CPU_SET(cpu, &one);
        break;
      }
    }
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    PlaceThread(1);
    const cpu_set_t now = Allowed();
    EXPECT_TRUE(CPU_EQUAL(&now, &one));
  }).join();
}

}  // namespace
}  // namespace rnbd::plugin
