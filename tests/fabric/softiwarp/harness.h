// One thread, one fabric, two or more ends over a network in memory with
// faults that are off unless asked for, and a clock that stands still.
#ifndef TESTS_FABRIC_SOFTIWARP_HARNESS_H_
#define TESTS_FABRIC_SOFTIWARP_HARNESS_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/softiwarp/fault_transport.h"
#include "rtrs/fabric/softiwarp/memory_transport.h"
#include "rtrs/fabric/softiwarp/softiwarp.h"
#include "tests/fabric/endpoint.h"

namespace rtrs::fabric {

// Client and server with a listener; Establish connects a pair.
class SoftiwarpTest : public ::testing::Test {
 protected:
  explicit SoftiwarpTest(
      SoftiwarpOptions::Crc crc = SoftiwarpOptions::Crc::kOff,
      const MemoryTransport::Options& network = {}, uint64_t seed = 1)
      : random_(seed),
        memory_(network),
        faults_(&memory_, &clock_, &random_),
        fabric_(NewSoftiwarp({crc}, &faults_, &clock_, &random_)),
        client_(std::make_unique<Endpoint>(fabric_.get())),
        server_(std::make_unique<Endpoint>(fabric_.get())),
        address_(*SocketAddress::Parse("192.0.2.1", 1234)),
        listener_(*server_->channel->Listen(address_, 128)) {}

  // Until nothing happens any more.
  void Run() {
    for (int round = 0; round < 100000; ++round) {
      const bool client = client_->Step();
      const bool server = server_->Step();
      if (!client && !server) return;
    }
    FAIL() << "never at rest";
  }

  // Starts to connect client_qp_; the request is the server's last event.
  void Request(absl::Span<const uint8_t> request_data = {}) {
    client_qp_ = client_->NewQp();
    ASSERT_TRUE(
        client_qp_->Connect(PathTo(address_), request_data, absl::Seconds(30))
            .ok());
    Run();
    ASSERT_EQ(server_->Count(CmEvent::Type::kConnectRequest), 1);
  }
  std::unique_ptr<ConnectRequest> TakeRequest() {
    std::unique_ptr<ConnectRequest> request =
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
    ASSERT_EQ(client_qp_->state(), QueuePair::State::kEstablished);
    ASSERT_EQ(server_qp_->state(), QueuePair::State::kEstablished);
    ASSERT_EQ(client_->Count(CmEvent::Type::kEstablished), 1);
    ASSERT_EQ(server_->Count(CmEvent::Type::kEstablished), 1);
  }

  ManualClock clock_;
  SeededRandom random_;
  MemoryTransport memory_;
  FaultTransport faults_;
  std::unique_ptr<Fabric> fabric_;
  std::unique_ptr<Endpoint> client_;
  std::unique_ptr<Endpoint> server_;
  SocketAddress address_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<QueuePair> client_qp_;
  std::unique_ptr<QueuePair> server_qp_;
};

}  // namespace rtrs::fabric

#endif  // TESTS_FABRIC_SOFTIWARP_HARNESS_H_
