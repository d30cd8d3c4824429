// The command line: defaults, values, and what is said about bad ones.
#include "server/daemon_options.h"

#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

#include "tests/server/fixture.h"

namespace rnbd::server {
namespace {

class OptionsTest : public testing::Test {
 protected:
  std::variant<DaemonOptions, ExitCode> Parse(std::vector<std::string> flags) {
    flags.insert(flags.begin(), "rnbd-server");
    std::vector<const char*> argv;
    for (const std::string& flag : flags) argv.push_back(flag.c_str());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    auto parsed = ParseCommandLine(static_cast<int>(argv.size()), argv.data());
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return parsed;
  }
  DaemonOptions Good(std::vector<std::string> flags) {
    flags.push_back("--dev_search_path=" + dir_.path());
    auto parsed = Parse(std::move(flags));
    EXPECT_TRUE(std::holds_alternative<DaemonOptions>(parsed)) << err_;
    return std::get<DaemonOptions>(parsed);
  }
  int ExitCodeOf(std::vector<std::string> flags) {
    auto parsed = Parse(std::move(flags));
    const auto* code = std::get_if<ExitCode>(&parsed);
    return code == nullptr ? -1 : code->value;
  }

  TempDir dir_;
  std::string out_;
  std::string err_;
};

TEST_F(OptionsTest, Defaults) {
  const DaemonOptions options = Good({});
  EXPECT_EQ(options.server.sess_queue_depth, 512u);
  EXPECT_EQ(options.server.max_chunk_size, 135168u);
  EXPECT_FALSE(options.workers_given);
  EXPECT_GE(options.server.workers, 1u);
  EXPECT_FALSE(options.server.always_invalidate);
  EXPECT_FALSE(options.listen_given);
  ASSERT_EQ(options.listen.size(), 2u);
  EXPECT_EQ(options.listen[0].ToString(), "127.0.0.1:1234");
  EXPECT_EQ(options.listen[1].ToString(), "[::1]:1234");
}

TEST_F(OptionsTest, ListenMayBeRepeated) {
  const DaemonOptions options =
      Good({"--listen=192.0.2.1", "--listen", "2001:db8::1", "--port_nr=77"});
  EXPECT_TRUE(options.listen_given);
  ASSERT_EQ(options.listen.size(), 2u);
  EXPECT_EQ(options.listen[0].ToString(), "192.0.2.1:77");
  EXPECT_EQ(options.listen[1].ToString(), "[2001:db8::1]:77");
}

TEST_F(OptionsTest, ValuesArrive) {
  const DaemonOptions options =
      Good({"--sess_queue_depth=64", "--max_chunk_size=65536", "--workers=3",
            "--always_invalidate=yes", "--io=direct", "--io_engine=threads",
            "--crc=on", "--fabric=softiwarp", "--log_level=debug",
            "--max_sessions=5", "--max_memory=1G", "--heartbeat_interval=0.5"});
  EXPECT_EQ(options.server.sess_queue_depth, 64u);
  EXPECT_EQ(options.server.max_chunk_size, 65536u);
  EXPECT_TRUE(options.workers_given);
  EXPECT_EQ(options.server.workers, 3u);
  EXPECT_TRUE(options.server.always_invalidate);
  EXPECT_EQ(options.io, IoMode::kDirect);
  EXPECT_EQ(options.io_engine, EngineChoice::kThreads);
  EXPECT_EQ(options.crc, rtrs::fabric::SoftiwarpOptions::Crc::kOn);
  EXPECT_EQ(options.log_level, spdlog::level::debug);
  EXPECT_EQ(options.server.max_sessions, 5u);
  EXPECT_EQ(options.server.max_memory, 1ull << 30);
  EXPECT_EQ(options.server.heartbeat_interval, absl::Milliseconds(500));
}

TEST_F(OptionsTest, HelpAndVersionAreNoErrors) {
  EXPECT_EQ(ExitCodeOf({"--help"}), 0);
  EXPECT_NE(out_.find("--dev_search_path"), std::string::npos);
  EXPECT_EQ(ExitCodeOf({"--version"}), 0);
  EXPECT_NE(out_.find("rnbd-server 0."), std::string::npos);
}

TEST_F(OptionsTest, SearchPathMustBeGiven) {
  EXPECT_EQ(ExitCodeOf({}), ExitCode::kUsage);
  EXPECT_NE(err_.find("--dev_search_path"), std::string::npos);
}

TEST_F(OptionsTest, ErrorsNameFlagAndValue) {
  const std::pair<const char*, const char*> bad[] = {
      {"--port_nr", "65536"},
      {"--port_nr", "x"},
      {"--port_nr", "-1"},
      {"--listen", "no.such.name."},
      {"--sess_queue_depth", "0"},
      {"--sess_queue_depth", "100000"},
      {"--max_chunk_size", "4096"},
      {"--max_chunk_size", "10000"},
      {"--always_invalidate", "perhaps"},
      {"--workers", "0"},
      {"--workers", "many"},
      {"--io", "quick"},
      {"--io_engine", "aio"},
      {"--crc", "maybe"},
      {"--fabric", "token-ring"},
      {"--log_level", "loud"},
      {"--max_sessions", "-5"},
      {"--max_memory", "1x"},
      {"--heartbeat_interval", "0.01"},
      {"--heartbeat_interval", "soon"}};
  for (const auto& [flag, value] : bad) {
    EXPECT_EQ(ExitCodeOf({"--dev_search_path", dir_.path(), flag, value}),
              ExitCode::kUsage)
        << flag << " " << value;
    EXPECT_NE(err_.find(std::string(flag).substr(2)), std::string::npos)
        << err_;
    EXPECT_NE(err_.find(value), std::string::npos) << flag << ": " << err_;
  }
  EXPECT_EQ(ExitCodeOf({"--dev_search_path", "/no/such"}), ExitCode::kUsage);
  EXPECT_NE(err_.find("/no/such"), std::string::npos);
}

TEST_F(OptionsTest, UnknownFlagIsNamed) {
  EXPECT_EQ(ExitCodeOf({"--dev_search_path", dir_.path(), "--bogus=1"}),
            ExitCode::kUsage);
  EXPECT_NE(err_.find("--bogus"), std::string::npos);
}

TEST(DefaultWorkersTest, AllProcessorsOnlyOverAnRdmaDevice) {
  EXPECT_EQ(DefaultWorkers(1, false), 1u);
  EXPECT_EQ(DefaultWorkers(2, false), 1u);
  EXPECT_EQ(DefaultWorkers(4, false), 2u);
  EXPECT_EQ(DefaultWorkers(64, false), 8u);
  EXPECT_EQ(DefaultWorkers(1, true), 1u);
  EXPECT_EQ(DefaultWorkers(2, true), 2u);
  EXPECT_EQ(DefaultWorkers(64, true), 8u);
  // What the standard library says when it does not know.
  EXPECT_EQ(DefaultWorkers(0, true), 1u);
}

}  // namespace
}  // namespace rnbd::server
