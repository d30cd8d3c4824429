#include "rtrs/client/spin_budget.h"

#include <gtest/gtest.h>

namespace rtrs::client {
namespace {

TEST(SpinBudgetTest, ShortWaitsAreWorthSpinningFor) {
  SpinBudget spin;
  for (int i = 0; i < 100; ++i) spin.OnWait(20'000);
  EXPECT_GE(spin.budget_ns(), 40'000);
  EXPECT_LE(spin.budget_ns(), 60'000);
}

TEST(SpinBudgetTest, LongWaitsAreNot) {
  SpinBudget spin;
  for (int i = 0; i < 100; ++i) spin.OnWait(10'000'000);
  EXPECT_EQ(spin.budget_ns(), 0);
}

TEST(SpinBudgetTest, WhereWakeUpsAreDearLongerWaitsAre) {
  SpinBudget spin(/*wakeup_ns=*/200'000);
  for (int i = 0; i < 100; ++i) spin.OnWait(500'000);
  EXPECT_GE(spin.budget_ns(), 500'000);
  EXPECT_LE(spin.budget_ns(), 800'000);
  for (int i = 0; i < 100; ++i) spin.OnWait(1'000'000);
  EXPECT_EQ(spin.budget_ns(), 0);
}

TEST(SpinBudgetTest, ItRecoversSoonAfterSlowTimes) {
  SpinBudget spin;
  for (int i = 0; i < 100; ++i) spin.OnWait(10'000'000);
  int waits = 0;
  while (spin.budget_ns() == 0 && waits < 100) {
    spin.OnWait(60'000);
    ++waits;
  }
  EXPECT_LT(waits, 20);
}

}  // namespace
}  // namespace rtrs::client
