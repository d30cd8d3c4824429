// The checker itself: what it must accept, and what it must notice.
#include "tests/simulation/disk_model.h"

#include <gtest/gtest.h>

#include <vector>

namespace rnbd::simulation {
namespace {

class DiskModelTest : public testing::Test {
 protected:
  void Write(uint64_t stamp, DiskModel::Outcome outcome) {
    model_.BeginWrite(1, 1);
    model_.EndWrite(1, 1, stamp, outcome);
  }
  void Flush() { model_.EndFlush(model_.BeginFlush()); }
  bool MayFind(uint64_t stamp) {
    std::vector<uint8_t> data(DiskModel::kSector);
    DiskModel::Fill(stamp, 1, absl::MakeSpan(data));
    DiskModel copy = model_;
    return copy.Check(1, data).empty();
  }
  void Find(uint64_t stamp) {
    std::vector<uint8_t> data(DiskModel::kSector);
    DiskModel::Fill(stamp, 1, absl::MakeSpan(data));
    EXPECT_EQ(model_.Check(1, data), "");
  }

  static constexpr DiskModel::Outcome kDone{.certain = true};
  static constexpr DiskModel::Outcome kFailed{};
  static constexpr DiskModel::Outcome kFua{.certain = true, .durable = true};
  DiskModel model_{4};
};

TEST_F(DiskModelTest, AcknowledgedIsTheOnlyContent) {
  EXPECT_TRUE(MayFind(DiskModel::kZeros));
  Write(1, kDone);
  EXPECT_TRUE(MayFind(1));
  EXPECT_FALSE(MayFind(DiskModel::kZeros));
}

TEST_F(DiskModelTest, FailedMayHaveHappenedUntilItIsRead) {
  Write(1, kDone);
  Write(2, kFailed);
  EXPECT_TRUE(MayFind(1));
  EXPECT_TRUE(MayFind(2));
  Find(1);
  EXPECT_FALSE(MayFind(2));
}

TEST_F(DiskModelTest, ALossBringsBackAnythingSinceTheLastFlush) {
  Write(1, kDone);
  Write(2, kDone);
  Flush();
  Write(3, kDone);
  Write(4, kDone);
  EXPECT_FALSE(MayFind(3));
  model_.LoseCache(true);
  EXPECT_FALSE(MayFind(1));
  EXPECT_TRUE(MayFind(2));
  EXPECT_TRUE(MayFind(3));
  EXPECT_TRUE(MayFind(4));
  Find(3);
  model_.LoseCache(true);
  EXPECT_FALSE(MayFind(2));
  EXPECT_FALSE(MayFind(4));
}

TEST_F(DiskModelTest, FuaIsDurableAtOnce) {
  Write(1, kDone);
  Write(2, kFua);
  model_.LoseCache(true);
  EXPECT_TRUE(MayFind(2));
  EXPECT_FALSE(MayFind(1));
}

TEST_F(DiskModelTest, AFlushCoversWhatWasAcknowledgedBeforeItBegan) {
  Write(1, kDone);
  const DiskModel::Moment begun = model_.BeginFlush();
  Write(2, kDone);
  model_.EndFlush(begun);
  model_.LoseCache(true);
  EXPECT_TRUE(MayFind(1));
  EXPECT_TRUE(MayFind(2));
  EXPECT_FALSE(MayFind(DiskModel::kZeros));
}

TEST_F(DiskModelTest, AFlushMakesAnUncertainWriteThatWasReadDurable) {
  Write(1, kFailed);
  Find(1);
  Flush();
  model_.LoseCache(true);
  EXPECT_FALSE(MayFind(DiskModel::kZeros));
}

TEST_F(DiskModelTest, AfterAFailedFlushALaterOneCoversNewWritesOnly) {
  Write(1, kDone);
  model_.FailFlush();
  Flush();
  model_.LoseCache(false);
  EXPECT_TRUE(MayFind(DiskModel::kZeros));
  Find(1);
  Write(2, kDone);
  Flush();
  model_.LoseCache(false);
  EXPECT_FALSE(MayFind(DiskModel::kZeros));
  EXPECT_FALSE(MayFind(1));
}

TEST_F(DiskModelTest, ADiscardLeavesEither) {
  Write(1, kFua);
  Write(DiskModel::kZeros, {.certain = true, .either = true});
  EXPECT_TRUE(MayFind(1));
  EXPECT_TRUE(MayFind(DiskModel::kZeros));
}

}  // namespace
}  // namespace rnbd::simulation
