// Thousands of rounds of the whole stack by seed. A failing seed is printed and
// repeats exactly: RNBD_SEED=N runs that one alone, RNBD_ROUNDS and RNBD_SEEDS
// make it longer.
#include "tests/simulation/simulation.h"

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_join.h"
#include "tests/support/environment.h"

namespace rnbd::simulation {
namespace {

using rtrs::FromEnvironment;

class Directory {
 public:
  Directory() {
    std::string name =
        (std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp") +
        std::string("/rnbd-simulation-XXXXXX");
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class SimulationTest : public testing::TestWithParam<FabricKind> {
 protected:
  // Thousands of cut connections are no news here.
  SimulationTest() {
    spdlog::set_level(std::getenv("RNBD_SEED") != nullptr ? spdlog::level::trace
                                                          : spdlog::level::off);
  }
  const int rounds_ = static_cast<int>(FromEnvironment("RNBD_ROUNDS", 4000));
};

INSTANTIATE_TEST_SUITE_P(Fabrics, SimulationTest,
                         testing::Values(FabricKind::kSoftiwarp,
                                         FabricKind::kSoftroce),
                         [](const auto& param) {
                           return param.param == FabricKind::kSoftiwarp
                                      ? "softiwarp"
                                      : "softroce";
                         });

TEST_P(SimulationTest, NothingIsLostOrWrong) {
  const uint64_t only = FromEnvironment("RNBD_SEED", 0);
  const uint64_t first = only != 0 ? only : 1;
  const uint64_t count = only != 0 ? 1 : FromEnvironment("RNBD_SEEDS", 150);
  SimClient::Stats sum;
  uint64_t network_faults = 0;
  std::array<uint64_t, kFaultKinds> faults{};
  for (uint64_t seed = first; seed < first + count; ++seed) {
    Directory directory;
    Simulation simulation(GetParam(), seed, directory.path());
    simulation.Run(rounds_);
    ASSERT_TRUE(simulation.violations().empty())
        << "RNBD_SEED=" << seed << " RNBD_ROUNDS=" << rounds_ << "\n"
        << absl::StrJoin(simulation.violations(), "\n")
        << (only != 0 ? "\n" + simulation.trace() : "");
    const SimClient::Stats stats = simulation.totals();
    sum.sessions += stats.sessions;
    sum.completed += stats.completed;
    sum.aborted += stats.aborted;
    sum.resumed += stats.resumed;
    sum.failed += stats.failed;
    sum.losses += stats.losses;
    network_faults += simulation.network_faults();
    for (size_t i = 0; i < kFaultKinds; ++i) {
      faults[i] += simulation.plan().count(static_cast<Fault>(i));
    }
  }
  std::cout << count << " seeds: " << sum.completed << " operations completed, "
            << sum.resumed << " resumed, " << sum.aborted << " aborted, "
            << sum.failed << " failed, " << sum.sessions << " sessions, "
            << sum.losses << " losses told, " << network_faults
            << " faults of the network\n";
  // The run meant something: work was done, and every fault hit it.
  EXPECT_GT(sum.completed, count * 100);
  if (count < 100) return;
  EXPECT_GT(sum.aborted, 0u);
  EXPECT_GT(sum.resumed, 0u);
  EXPECT_GT(sum.failed, 0u);
  EXPECT_GT(sum.losses, 0u);
  EXPECT_GT(sum.sessions, count);
  EXPECT_GT(network_faults, 0u);
  for (size_t i = 0; i < kFaultKinds; ++i) {
    EXPECT_GT(faults[i], 0u) << FaultName(static_cast<Fault>(i));
  }
}

TEST_P(SimulationTest, RepeatsExactlyBySeed) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    std::string traces[2];
    for (std::string& trace : traces) {
      Directory directory;
      Simulation simulation(GetParam(), seed, directory.path());
      simulation.Run(rounds_ / 2);
      trace = simulation.trace();
    }
    ASSERT_FALSE(traces[0].empty());
    ASSERT_EQ(traces[0], traces[1]) << "seed " << seed;
  }
}

}  // namespace
}  // namespace rnbd::simulation
