#include "rtrs/wire/capabilities.h"

#include <algorithm>
#include <array>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace rtrs::wire {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

TEST(CapabilitiesTest, NoneIsAllZero) {
  std::array<uint8_t, Capabilities::kSize> out;
  out.fill(0xff);
  EncodeCapabilities({}, out.data());
  EXPECT_THAT(out, Each(0));
  EXPECT_EQ(DecodeCapabilities(out), Capabilities{});
}

TEST(CapabilitiesTest, EncodesMarkAndBits) {
  std::array<uint8_t, Capabilities::kSize> out;
  EncodeCapabilities({Capabilities::kFence | Capabilities::kWriteZeroes},
                     out.data());
  EXPECT_THAT(out, ElementsAre('R', 'N', 'U', '1', 5, 0, 0, 0));
}

TEST(CapabilitiesTest, EachHasABitOfItsOwn) {
  EXPECT_EQ(Capabilities::kFence | Capabilities::kWriteVerifier |
                Capabilities::kWriteZeroes | Capabilities::kNotice,
            0xfu);
}

TEST(CapabilitiesTest, RoundTripKeepsUnknownBits) {
  std::array<uint8_t, Capabilities::kSize> out;
  EncodeCapabilities({0xdeadbeef}, out.data());
  EXPECT_EQ(DecodeCapabilities(out).bits, 0xdeadbeef);
}

TEST(CapabilitiesTest, NothingWithoutTheMark) {
  const std::array<uint8_t, Capabilities::kSize> foreign = {'R', 'N', 'U', '2',
                                                            1,   0,   0,   0};
  EXPECT_EQ(DecodeCapabilities(foreign).bits, 0u);
}

TEST(CapabilitiesTest, HasTestsSingleBits) {
  const Capabilities v{Capabilities::kWriteVerifier};
  EXPECT_TRUE(v.Has(Capabilities::kWriteVerifier));
  EXPECT_FALSE(v.Has(Capabilities::kFence));
}

}  // namespace
}  // namespace rtrs::wire
