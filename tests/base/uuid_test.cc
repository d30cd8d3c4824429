#include "rtrs/base/uuid.h"

#include <set>

#include "gtest/gtest.h"

namespace rtrs {
namespace {

TEST(UuidTest, PrintsInGroups) {
  Uuid uuid;
  for (size_t i = 0; i < uuid.size(); ++i) {
    uuid[i] = static_cast<uint8_t>(i * 0x11);
  }
  EXPECT_EQ(UuidString(uuid), "00112233-4455-6677-8899-aabbccddeeff");
}

TEST(UuidTest, IsRandomOfVersion4) {
  SeededRandom random(3);
  std::set<Uuid> seen;
  for (int i = 0; i < 100; ++i) {
    const Uuid uuid = NewUuid(random);
    EXPECT_EQ(uuid[6] >> 4, 4);
    EXPECT_EQ(uuid[8] >> 6, 2);
    seen.insert(uuid);
  }
  EXPECT_EQ(seen.size(), 100u);
}

}  // namespace
}  // namespace rtrs
