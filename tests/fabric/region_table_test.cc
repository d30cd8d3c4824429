// Memory regions: keys, bounds, domains, deregistration.
#include "rtrs/fabric/region_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

namespace rtrs::fabric {
namespace {

constexpr uint32_t kPd = 1;

class RegionTableTest : public ::testing::Test {
 protected:
  uint64_t base() const { return reinterpret_cast<uint64_t>(memory_); }
  uint32_t Register(uint32_t access = kLocalWrite | kRemoteWrite) {
    return *table_.Register(memory_, sizeof(memory_), access, kPd);
  }

  SeededRandom random_{7};
  RegionTable table_{&random_};
  uint8_t memory_[4096];
};

TEST_F(RegionTableTest, AllBytesOfARegionAndNoOthers) {
  const uint32_t stag = Register();
  const auto check = [&](uint64_t address, uint64_t length) {
    return table_.Check(stag, kPd, address, length, kRemoteWrite);
  };
  EXPECT_EQ(check(base(), 4096), MrCheck::kOk);
  EXPECT_EQ(check(base() + 4095, 1), MrCheck::kOk);
  EXPECT_EQ(check(base() + 4096, 0), MrCheck::kOk);
  EXPECT_EQ(check(base() + 4096, 1), MrCheck::kBounds);
  EXPECT_EQ(check(base(), 4097), MrCheck::kBounds);
  EXPECT_EQ(check(base() - 1, 1), MrCheck::kBounds);
  EXPECT_EQ(check(base() - 1, 4096), MrCheck::kBounds);
  EXPECT_EQ(check(0, 1), MrCheck::kBounds);
}

TEST_F(RegionTableTest, SumsThatWrapAreRefused) {
  const uint32_t stag = Register();
  const auto check = [&](uint64_t address, uint64_t length) {
    return table_.Check(stag, kPd, address, length, kRemoteWrite);
  };
  EXPECT_EQ(check(0xfffffffffffffff8, 8), MrCheck::kWraps);
  EXPECT_EQ(check(0xfffffffffffffff8, 7), MrCheck::kBounds);
  EXPECT_EQ(check(~uint64_t{0}, 64754), MrCheck::kWraps);
  EXPECT_EQ(check(base(), ~uint64_t{0}), MrCheck::kWraps);
  EXPECT_EQ(check(base() + 8, 0 - base()), MrCheck::kWraps);
}

TEST_F(RegionTableTest, RightsAndDomainsAreKept) {
  const uint32_t read_only = Register(0);
  EXPECT_EQ(table_.Check(read_only, kPd, base(), 1, 0), MrCheck::kOk);
  EXPECT_EQ(table_.Check(read_only, kPd, base(), 1, kLocalWrite),
            MrCheck::kNoAccess);
  const uint32_t local = Register(kLocalWrite);
  EXPECT_EQ(table_.Check(local, kPd, base(), 1, kRemoteWrite),
            MrCheck::kNoAccess);
  EXPECT_EQ(table_.Check(local, kPd + 1, base(), 1, kLocalWrite),
            MrCheck::kForeignPd);
}

TEST_F(RegionTableTest, DeadAndInventedKeysAreUnknown) {
  const uint32_t stag = Register();
  table_.Deregister(stag);
  EXPECT_EQ(table_.Check(stag, kPd, base(), 1, 0), MrCheck::kUnknown);
  Register();
  for (uint32_t guess = 0; guess < 10000; ++guess) {
    EXPECT_EQ(table_.Check(guess * 429496, kPd, base(), 1, 0),
              MrCheck::kUnknown);
  }
}

TEST_F(RegionTableTest, KeysAreDistinctAndNotReusedSoon) {
  std::set<uint32_t> seen;
  for (int i = 0; i < 20000; ++i) {
    const uint32_t stag = Register();
    EXPECT_NE(stag, 0U);
    if (i < 8000) {
      EXPECT_TRUE(seen.insert(stag).second) << i;
    }
    table_.Deregister(stag);
  }
}

TEST_F(RegionTableTest, ManyRegionsLiveAtOnce) {
  std::vector<uint32_t> stags;
  for (int i = 0; i < 20000; ++i) stags.push_back(Register());
  for (uint32_t stag : stags) {
    ASSERT_EQ(table_.Check(stag, kPd, base(), 4096, kRemoteWrite),
              MrCheck::kOk);
  }
  for (uint32_t stag : stags) table_.Deregister(stag);
}

TEST_F(RegionTableTest, InvalidationEndsRemoteAccessOnly) {
  const uint32_t stag = Register();
  EXPECT_EQ(table_.InvalidateRemote(stag, kPd + 1), MrCheck::kForeignPd);
  EXPECT_EQ(table_.InvalidateRemote(stag, kPd), MrCheck::kOk);
  EXPECT_EQ(table_.Check(stag, kPd, base(), 1, kRemoteWrite),
            MrCheck::kUnknown);
  EXPECT_EQ(table_.Check(stag, kPd, base(), 1, kLocalWrite), MrCheck::kOk);
  EXPECT_EQ(table_.InvalidateRemote(stag, kPd), MrCheck::kUnknown);
  const uint32_t local = Register(kLocalWrite);
  EXPECT_EQ(table_.InvalidateRemote(local, kPd), MrCheck::kNoAccess);
  EXPECT_EQ(table_.InvalidateRemote(stag ^ 0x1234, kPd), MrCheck::kUnknown);
}

TEST_F(RegionTableTest, EmptyAndWrappingRegionsAreRefused) {
  EXPECT_FALSE(table_.Register(memory_, 0, 0, kPd).ok());
  EXPECT_FALSE(table_.Register(memory_, ~size_t{0}, 0, kPd).ok());
}

TEST_F(RegionTableTest, DeregistrationWaitsForThePlacementInFlight) {
  const uint32_t stag = Register();
  MrPin pin;
  ASSERT_EQ(table_.Pin(stag, kPd, base(), 8, kRemoteWrite, &pin), MrCheck::kOk);
  std::atomic<bool> gone{false};
  std::thread other([&] {
    table_.Deregister(stag);
    gone = true;
  });
  // New placements are refused from some moment on, while it still waits.
  while (table_.Check(stag, kPd, base(), 8, kRemoteWrite) == MrCheck::kOk) {
    std::this_thread::yield();
  }
  EXPECT_FALSE(gone);
  pin = MrPin();
  other.join();
  EXPECT_TRUE(gone);
}

TEST_F(RegionTableTest, ThreadsNeverPlaceIntoWhatIsDeregistered) {
  std::atomic<uint32_t> current{0};
  std::atomic<bool> stop{false};
  std::atomic<bool> registered{false};
  std::atomic<int> wrong{0};
  std::thread placer([&] {
    while (!stop) {
      MrPin pin;
      if (table_.Pin(current, kPd, base(), 8, kRemoteWrite, &pin) ==
          MrCheck::kOk) {
        if (!registered) ++wrong;
      }
    }
  });
  for (int i = 0; i < 20000; ++i) {
    registered = true;
    current = Register();
    table_.Deregister(current);
    registered = false;
  }
  stop = true;
  placer.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace rtrs::fabric
