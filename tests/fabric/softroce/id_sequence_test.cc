// Which IPv4 identifications a peer's packets may have.
#include "rtrs/fabric/softroce/id_sequence.h"

#include <gtest/gtest.h>

namespace rtrs::softroce {
namespace {

class IdSequenceTest : public ::testing::Test {
 protected:
  bool Solved(uint16_t id) { return ids_.Accept(id, true, now_); }

  IdSequence ids_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
};

TEST_F(IdSequenceTest, PlacesInTrainsAreExpectedAtFirst) {
  EXPECT_EQ(ids_.Expected(0), 0);
  EXPECT_EQ(ids_.Expected(17), 17);
  EXPECT_TRUE(ids_.Accept(17, false, now_));
  // A train that was cut and joined elsewhere on the way.
  EXPECT_TRUE(Solved(3));
}

TEST_F(IdSequenceTest, ACountingPeerIsFollowed) {
  EXPECT_TRUE(Solved(30000));
  EXPECT_EQ(ids_.Expected(5), 30001);
  EXPECT_TRUE(ids_.Accept(30001, false, now_));
  EXPECT_TRUE(Solved(30500));  // some were lost, or went to others
  EXPECT_TRUE(Solved(30499));  // overtaken
}

TEST_F(IdSequenceTest, TheCounterWraps) {
  EXPECT_TRUE(Solved(65535));
  EXPECT_EQ(ids_.Expected(0), 0);
}

TEST_F(IdSequenceTest, ACounterThatWrapsIsFollowedPastThePlacesOfATrain) {
  uint16_t id = 65000;
  EXPECT_TRUE(Solved(id));
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(ids_.Expected(0), ++id);
    ASSERT_TRUE(ids_.Accept(id, false, now_)) << id;
  }
  // Where some are missing around the wrap.
  EXPECT_TRUE(Solved(65500));
  EXPECT_TRUE(Solved(20));
  EXPECT_TRUE(Solved(static_cast<uint16_t>(kMaxTrain + 50)));
}

TEST_F(IdSequenceTest, ACounterMayBeginAmongThePlacesOfATrain) {
  for (uint16_t id = 40; id < 100; ++id) EXPECT_TRUE(Solved(id)) << id;
}

TEST_F(IdSequenceTest, OneThatWasOvertakenDoesNotTurnTheCounterBack) {
  EXPECT_TRUE(Solved(30000));
  EXPECT_TRUE(Solved(29000));
  EXPECT_EQ(ids_.Expected(0), 30001);
  EXPECT_TRUE(Solved(32000));
}

TEST_F(IdSequenceTest, AFarJumpIsDamageUntilTheNextOneAgrees) {
  EXPECT_TRUE(Solved(30000));
  EXPECT_FALSE(Solved(12345));
  EXPECT_TRUE(ids_.Accept(30001, false, now_));
  EXPECT_FALSE(Solved(12346));  // what came between ended the suspicion
  EXPECT_TRUE(Solved(12348));
  EXPECT_EQ(ids_.Expected(0), 12349);
}

TEST_F(IdSequenceTest, APeerThatWasSilentMayHaveMovedOn) {
  EXPECT_TRUE(Solved(30000));
  now_ += absl::Milliseconds(500);
  EXPECT_FALSE(Solved(12345));
  now_ += absl::Milliseconds(500);
  EXPECT_TRUE(Solved(54321));
}

}  // namespace
}  // namespace rtrs::softroce
