// A session over two paths, whose servers answer when they are told to.
#ifndef TESTS_CLIENT_TWO_PATH_FIXTURE_H_
#define TESTS_CLIENT_TWO_PATH_FIXTURE_H_

#include <algorithm>

#include "rtrs/wire/immediate.h"
#include "tests/client/session_fixture.h"

namespace rtrs::client {

inline constexpr uint32_t kFenceBit = wire::Capabilities::kFence;

class TwoPathTest : public SessionTest {
 protected:
  // Two paths to servers that answer requests when they are told to.
  void ConnectTwo(uint32_t capabilities) {
    FakeServer::Config config;
    config.auto_respond = false;
    config.capabilities = capabilities;
    first_ = AddServer("127.0.0.1", config);
    second_ = AddServer("127.0.0.2", config);
    Connect();
    ASSERT_EQ(ConnectedPaths(), 2u);
  }
  size_t ConnectedPaths() const {
    size_t count = 0;
    for (const PathInfo& path : session_->paths()) count += path.connected;
    return count;
  }
  // Lets the time go by in small steps.
  void Pass(absl::Duration time) {
    Settle();
    for (const absl::Time end = clock_.Now() + time; clock_.Now() < end;) {
      const absl::Duration next = session_->NextDeadline() - clock_.Now();
      clock_.Advance(
          std::min(std::max(next, absl::Milliseconds(1)), end - clock_.Now()));
      Settle();
    }
  }
  // Ends the session while the requests of the test still live.
  void EndSession() { session_.reset(); }
  static uint32_t FenceOf(const FakeServer& server, uint8_t recon_cnt) {
    return wire::EncodeFenceImm(
        wire::ImmType::kFence,
        {wire::FencePath(server.connects.at(0).sess_uuid), recon_cnt});
  }

  FakeServer* first_ = nullptr;
  FakeServer* second_ = nullptr;
};

}  // namespace rtrs::client

#endif  // TESTS_CLIENT_TWO_PATH_FIXTURE_H_
