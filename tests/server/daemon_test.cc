// The daemon with everything in it, over loopback, from the gateway's side.
#include "server/daemon.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gateway/gateway.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/path_spec.h"
#include "tests/server/fixture.h"

namespace rnbd::server {
namespace {

using gateway::BlockDevice;
using gateway::Gateway;
using wire::AccessMode;

// A daemon on a free port of 127.0.0.1.
class RunningDaemon {
 public:
  explicit RunningDaemon(const std::string& search_path,
                         std::vector<std::string> flags = {}) {
    std::vector<std::string> words{
        "rnbd-server", absl::StrCat("--dev_search_path=", search_path),
        "--listen=127.0.0.1", "--port_nr=0"};
    words.insert(words.end(), flags.begin(), flags.end());
    std::vector<const char*> argv;
    for (const std::string& word : words) argv.push_back(word.c_str());
    auto parsed = ParseCommandLine(static_cast<int>(argv.size()), argv.data());
    daemon_ = std::make_unique<Daemon>(std::get<DaemonOptions>(parsed));
    const absl::Status status = daemon_->Start();
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(daemon_->addresses().size(), 1u);
    port_ = daemon_->addresses()[0].port();
  }
  ~RunningDaemon() { Stop(); }

  // As on SIGTERM.
  void Stop() {
    if (daemon_ == nullptr) return;
    daemon_->BeginShutdown();
    pollfd done{daemon_->shutdown_fd(), POLLIN, 0};
    EXPECT_EQ(poll(&done, 1, 60'000), 1) << "sessions do not end";
    daemon_->Finish();
    daemon_.reset();
  }

  std::shared_ptr<Gateway> Connect(const std::string& sessname) const {
    gateway::GatewayOptions options;
    options.sessname = sessname;
    options.paths.push_back(*rtrs::ParsePathSpec("ip:127.0.0.1", port_));
    options.io_timeout = absl::Seconds(30);
    auto opened = Gateway::Open(options);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? *opened : nullptr;
  }

 private:
  std::unique_ptr<Daemon> daemon_;
  uint16_t port_ = 0;
};

class DaemonTest : public testing::TestWithParam<const char*> {
 protected:
  DaemonTest() { dir_.MakeFile("disk", 4 << 20, 'd'); }
  std::vector<std::string> Flags() const {
    return {"--workers=2", absl::StrCat("--io_engine=", GetParam()),
            "--io=direct"};
  }
  TempDir dir_;
};

INSTANTIATE_TEST_SUITE_P(Engines, DaemonTest,
                         testing::Values("io_uring", "threads"),
                         [](const auto& param) {
                           return std::string(param.param);
                         });

TEST_P(DaemonTest, ServesAFileToAGateway) {
  RunningDaemon daemon(dir_.path(), Flags());
  auto session = daemon.Connect("client");
  auto device = session->Map("disk", AccessMode::kRw);
  ASSERT_TRUE(device.ok()) << device.status();
  EXPECT_EQ((*device)->info().size, 4u << 20);
  EXPECT_NE((*device)->info().write_verifier, 0u);
  const std::string data(1 << 20, 'n');
  ASSERT_TRUE((*device)->Write(data.data(), 1 << 20, 4097, true, 0).ok());
  std::string back(1 << 20, 0);
  ASSERT_TRUE((*device)->Read(back.data(), 1 << 20, 4097, 1).ok());
  EXPECT_TRUE(back == data);
  EXPECT_TRUE((*device)->Flush(0).ok());
  EXPECT_TRUE((*device)->Zero(65536, 0, {.may_trim = true}, 0).ok());
  const std::string stored = dir_.Read("disk");
  const size_t end = 4097 + data.size();
  EXPECT_TRUE(stored.substr(0, 65536) == std::string(65536, 0));
  EXPECT_TRUE(stored.substr(65536, end - 65536) ==
              std::string(end - 65536, 'n'));
  EXPECT_EQ(stored[end], 'd');
}

TEST_P(DaemonTest, ServesManyThreadsOfManySessions) {
  RunningDaemon daemon(dir_.path(), Flags());
  constexpr int kSessions = 3;
  std::vector<std::thread> threads;
  for (int s = 0; s < kSessions; ++s) {
    const std::string name = absl::StrCat("disk", s);
    dir_.MakeFile(name, 1 << 20);
    threads.emplace_back([&daemon, name, s] {
      auto session = daemon.Connect(absl::StrCat("client", s));
      auto device = session->Map(name, AccessMode::kRw);
      ASSERT_TRUE(device.ok()) << device.status();
      std::vector<std::thread> writers;
      for (uint32_t t = 0; t < 4; ++t) {
        writers.emplace_back([&device, t] {
          std::string data(4096, 0);
          std::string back(4096, 1);
          for (uint32_t i = 0; i < 64; ++i) {
            std::memset(data.data(), static_cast<int>(t * 64 + i), 4096);
            const uint64_t offset = (t * 64 + i) * 4096;
            EXPECT_TRUE((*device)
                            ->Write(data.data(), 4096, offset, i % 8 == 0, t)
                            .ok());
            EXPECT_TRUE((*device)->Read(back.data(), 4096, offset, t).ok());
            EXPECT_EQ(back, data);
          }
        });
      }
      for (std::thread& writer : writers) writer.join();
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string stored = dir_.Read("disk2");
  for (size_t i = 0; i < 256; ++i) {
    ASSERT_EQ(stored.substr(i * 4096, 4096),
              std::string(4096, static_cast<char>(i)));
  }
}

TEST_P(DaemonTest, EndsInOrderWhileClientsAreThere) {
  RunningDaemon daemon(dir_.path(), Flags());
  auto session = daemon.Connect("client");
  auto device = session->Map("disk", AccessMode::kRw);
  ASSERT_TRUE(device.ok()) << device.status();
  const std::string data(4096, 'x');
  ASSERT_TRUE((*device)->Write(data.data(), 4096, 0, false, 0).ok());
  daemon.Stop();
  EXPECT_EQ(dir_.Read("disk").substr(0, 4096), data);
}

TEST_P(DaemonTest, RefusesWithTheErrnoOfTheCause) {
  dir_.MakeFile("taken", 4096);
  RunningDaemon daemon(dir_.path(), Flags());
  auto first = daemon.Connect("first");
  auto second = daemon.Connect("second");
  auto held = first->Map("taken", AccessMode::kRw);
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(rtrs::ErrnoOf(second->Map("taken", AccessMode::kRw).status()),
            EPERM);
  EXPECT_EQ(rtrs::ErrnoOf(second->Map("missing", AccessMode::kRw).status()),
            ENOENT);
  EXPECT_TRUE(second->Map("taken", AccessMode::kRo).ok());
}

}  // namespace
}  // namespace rnbd::server
