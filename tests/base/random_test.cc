#include "rtrs/base/random.h"

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace rtrs {
namespace {

TEST(SeededRandomTest, RepeatsBySeed) {
  SeededRandom a(7);
  SeededRandom b(7);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.Uint64(), b.Uint64());
}

TEST(SeededRandomTest, OtherSeedGivesOtherNumbers) {
  EXPECT_NE(SeededRandom(7).Uint64(), SeededRandom(8).Uint64());
}

TEST(RandomTest, BelowStaysBelowAndReachesAll) {
  SeededRandom random(1);
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.Below(7));
  EXPECT_EQ(seen.size(), 7u);
  EXPECT_EQ(*seen.rbegin(), 6u);
}

TEST(RandomTest, BelowOneIsZero) {
  SeededRandom random(1);
  EXPECT_EQ(random.Below(1), 0u);
}

// Gives the words it was made with.
class ScriptedRandom : public Random {
 public:
  explicit ScriptedRandom(std::vector<uint8_t> bytes)
      : bytes_(std::move(bytes)) {}
  void Fill(absl::Span<uint8_t> out) override {
    ASSERT_LE(out.size(), bytes_.size() - at_);
    std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(at_), out.size(),
                out.begin());
    at_ += out.size();
  }

 private:
  std::vector<uint8_t> bytes_;
  size_t at_ = 0;
};

TEST(RandomTest, BelowThrowsAwayTheUnfairRest) {
  // 2^64 mod 3 is 1, so that 0 is drawn again.
  std::vector<uint8_t> bytes(16, 0);
  bytes[12] = 5;  // low word of the second number
  ScriptedRandom random(bytes);
  EXPECT_EQ(random.Below(3), 2u);
}

TEST(SystemRandomTest, FillsMoreThanItsBuffer) {
  std::vector<uint8_t> out(4096);
  Random::System()->Fill(absl::MakeSpan(out));
  // 64 zero bytes in a row would come by chance once in 2^500.
  const std::vector<uint8_t> zeros(64);
  EXPECT_EQ(std::search(out.begin(), out.end(), zeros.begin(), zeros.end()),
            out.end());
}

TEST(SystemRandomTest, DoesNotRepeat) {
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(Random::System()->Uint64());
  EXPECT_EQ(seen.size(), 1000u);
}

}  // namespace
}  // namespace rtrs
