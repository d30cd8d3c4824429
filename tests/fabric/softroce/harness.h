// One thread, one fabric, two ends on two addresses of a network in memory
// with faults that are off unless asked for, and a clock that stands still.
#ifndef TESTS_FABRIC_SOFTROCE_HARNESS_H_
#define TESTS_FABRIC_SOFTROCE_HARNESS_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/softroce/engine.h"
#include "rtrs/fabric/softroce/host.h"
#include "rtrs/fabric/softroce/memory_network.h"
#include "rtrs/fabric/softroce/softroce.h"
#include "tests/fabric/endpoint.h"

namespace rtrs::softroce {

// Client and server with a listener; Establish connects a pair.
class SoftroceTest : public ::testing::Test {
 protected:
  explicit SoftroceTest(const MemoryNetwork::Options& network = {},
                        const char* server = "192.0.2.1", uint64_t seed = 1)
      : random_(seed),
        network_(network, &clock_, &random_),
        host_(&network_, &clock_, &random_),
        fabric_(NewSoftroce({}, &host_)),
        client_(std::make_unique<fabric::Endpoint>(fabric_.get())),
        server_(std::make_unique<fabric::Endpoint>(fabric_.get())),
        address_(*SocketAddress::Parse(server, 1234)),
        listener_(*server_->channel->Listen(address_, 128)) {}

  bool StepAll() {
    const bool client = client_->Step();
    const bool server = server_->Step();
    return client || server;
  }
  // When something is due, though nothing happens now.
  absl::Time NextTime() const {
    return std::min({client_->channel->NextDeadline(),
                     server_->channel->NextDeadline(), network_.NextArrival()});
  }
  // Until nothing happens any more. The clock moves to what is due until then;
  // not beyond `limit` from now.
  void Run(absl::Duration limit = absl::Hours(1)) {
    const absl::Time end = clock_.Now() + limit;
    for (int round = 0; round < 1000000; ++round) {
      if (StepAll()) continue;
      const absl::Time next = NextTime();
      if (next > end) return;
      clock_.Advance(std::max(next - clock_.Now(), absl::Microseconds(1)));
    }
    FAIL() << "never at rest";
  }

  // Starts to connect client_qp_; the request is the server's last event.
  void Request(absl::Span<const uint8_t> request_data = {}) {
    client_qp_ = client_->NewQp();
    ASSERT_TRUE(
        client_qp_
            ->Connect(fabric::PathTo(address_), request_data, absl::Seconds(30))
            .ok());
    for (int i = 0; i < 10000 && server_->events.empty(); ++i) {
      if (!StepAll()) clock_.Advance(absl::Milliseconds(1));
    }
    ASSERT_EQ(server_->Count(fabric::CmEvent::Type::kConnectRequest), 1);
  }
  std::unique_ptr<fabric::ConnectRequest> TakeRequest() {
    std::unique_ptr<fabric::ConnectRequest> request =
        std::move(server_->events.back().request);
    server_->events.clear();
    return request;
  }
  void Establish(absl::Span<const uint8_t> request_data = {},
                 absl::Span<const uint8_t> reply_data = {}) {
    Request(request_data);
    server_qp_ = server_->NewQp();
    ASSERT_TRUE(server_qp_->Accept(TakeRequest(), reply_data).ok());
    Run();
    ASSERT_EQ(client_qp_->state(), fabric::QueuePair::State::kEstablished);
    ASSERT_EQ(server_qp_->state(), fabric::QueuePair::State::kEstablished);
    ASSERT_EQ(client_->Count(fabric::CmEvent::Type::kEstablished), 1);
    ASSERT_EQ(server_->Count(fabric::CmEvent::Type::kEstablished), 1);
  }
  EngineStats StatsOf(const SocketAddress& address) {
    MutexLock lock(host_.mutex());
    return host_.Find(address)->stats();
  }

  ManualClock clock_;
  SeededRandom random_;
  MemoryNetwork network_;
  Host host_;
  std::unique_ptr<fabric::Fabric> fabric_;
  std::unique_ptr<fabric::Endpoint> client_;
  std::unique_ptr<fabric::Endpoint> server_;
  SocketAddress address_;
  std::unique_ptr<fabric::Listener> listener_;
  std::unique_ptr<fabric::QueuePair> client_qp_;
  std::unique_ptr<fabric::QueuePair> server_qp_;
};

}  // namespace rtrs::softroce

#endif  // TESTS_FABRIC_SOFTROCE_HARNESS_H_
