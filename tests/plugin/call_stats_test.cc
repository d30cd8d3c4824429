#include "nbdkit-plugin/call_stats.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace rnbd::plugin {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(CallStats, ReportsWhatHappenedOnly) {
  CallStats stats;
  stats.Add(CallStats::kPread, 4096, absl::Microseconds(10));
  stats.Add(CallStats::kPread, 8192, absl::Microseconds(30));
  const std::string report = stats.Report();
  EXPECT_THAT(report, HasSubstr("pread               2              12288"));
  EXPECT_THAT(report, HasSubstr("20.0         30.0"));
  EXPECT_THAT(report, Not(HasSubstr("pwrite")));
}

}  // namespace
}  // namespace rnbd::plugin
