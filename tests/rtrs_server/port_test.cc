// When a port sends what was posted without waiting for the end of the round.
#include "rtrs/server/port.h"

#include <memory>

#include "gtest/gtest.h"
#include "tests/rtrs_server/harness.h"

namespace rtrs::server {
namespace {

constexpr size_t kKiB = 1024;

class PortTest : public testing::Test {
 protected:
  TestFabric fabric_;
  std::unique_ptr<Port> port_ = *Port::Create(&fabric_);
};

TEST_F(PortTest, SendsOnceAtTheEndOfARound) {
  for (int i = 0; i < 8; ++i) port_->NotePosted(0);
  EXPECT_EQ(fabric_.flushes, 0);
  port_->Flush();
  port_->Flush();
  EXPECT_EQ(fabric_.flushes, 1);
}

TEST_F(PortTest, ReadsGoAtOnceWhenThereIsMuchOfThem) {
  port_->NotePosted(128 * kKiB);
  EXPECT_EQ(fabric_.flushes, 0);
  port_->NotePosted(128 * kKiB);
  EXPECT_EQ(fabric_.flushes, 1);
  port_->NotePosted(128 * kKiB);
  EXPECT_EQ(fabric_.flushes, 1);
}

TEST_F(PortTest, FewerAnswersToWritesWait) {
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(fabric_.flushes, round);
      port_->NoteWritten(4 * kKiB);
    }
    EXPECT_EQ(fabric_.flushes, round + 1);
  }
}

TEST_F(PortTest, LargeWritesCountByTheirBytes) {
  port_->NoteWritten(128 * kKiB);
  EXPECT_EQ(fabric_.flushes, 0);
  port_->NoteWritten(128 * kKiB);
  EXPECT_EQ(fabric_.flushes, 1);
}

}  // namespace
}  // namespace rtrs::server
