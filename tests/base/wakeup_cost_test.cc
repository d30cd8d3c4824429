#include "rtrs/base/wakeup_cost.h"

#include <gtest/gtest.h>

namespace rtrs {
namespace {

// What it is depends on the machine; that it is the same for all who ask does
// not.
TEST(WakeupCostTest, IsMeasuredOnce) {
  const absl::Duration cost = WakeupCost();
  EXPECT_GT(cost, absl::ZeroDuration());
  EXPECT_LE(cost, absl::Seconds(1));
  EXPECT_EQ(WakeupCost(), cost);
}

}  // namespace
}  // namespace rtrs
