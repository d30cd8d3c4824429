// Two ends on one RDMA device, for tests that run where one is: in a guest of
// scripts/vm. RTRS_TEST_ADDRESS names an address of the device.
#ifndef TESTS_FABRIC_VERBS_DEVICE_FIXTURE_H_
#define TESTS_FABRIC_VERBS_DEVICE_FIXTURE_H_

#include <gtest/gtest.h>
#include <poll.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rtrs/base/clock.h"
#include "rtrs/base/log.h"
#include "rtrs/fabric/verbs/verbs.h"

namespace rtrs::fabric::verbs {

// One side: a channel, its completion queue and domain, and what it has seen.
struct Side {
  explicit Side(Fabric* fabric)
      : pd(*fabric->AllocPd()),
        channel(*fabric->CreateEventChannel()),
        cq(*channel->CreateCq(256)) {}

  QueuePairInit Init() const {
    QueuePairInit init;
    init.pd = pd.get();
    init.cq = cq.get();
    init.max_send_wr = 16;
    init.max_recv_wr = 16;
    init.max_send_sge = 2;
    init.max_inline = 64;
    init.rekeyed = rekeyed;
    return init;
  }
  void Step() {
    channel->Progress();
    CmEvent event;
    while (channel->NextEvent(&event)) events.push_back(std::move(event));
    WorkCompletion wcs[8];
    const int n = cq->Poll(wcs);
    completions.insert(completions.end(), wcs, wcs + n);
  }
  // The first event of `type`, or nullptr.
  CmEvent* Find(CmEvent::Type type) {
    for (CmEvent& event : events) {
      if (event.type == type) return &event;
    }
    return nullptr;
  }
  const WorkCompletion* Completed(uint64_t wr_id) const {
    for (const WorkCompletion& wc : completions) {
      if (wc.wr_id == wr_id) return &wc;
    }
    return nullptr;
  }
  absl::Status Recv(uint64_t wr_id, uint8_t* address = nullptr,
                    uint32_t length = 0, uint32_t lkey = 0) {
    const RecvWr wr = {wr_id, address, length, lkey};
    return qp->PostRecv(absl::MakeSpan(&wr, 1));
  }
  absl::Status Send(const SendWr& wr, Doorbell doorbell = Doorbell::kNow) {
    return qp->PostSend(absl::MakeSpan(&wr, 1), doorbell);
  }

  bool rekeyed = false;  // its queue pair, when that is made
  std::unique_ptr<ProtectionDomain> pd;
  std::unique_ptr<EventChannel> channel;
  std::unique_ptr<CompletionQueue> cq;
  std::unique_ptr<QueuePair> qp;
  std::vector<CmEvent> events;
  std::vector<WorkCompletion> completions;
};

class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // Every test opens the device, which it would describe each time.
    spdlog::set_level(spdlog::level::warn);
    const char* text = std::getenv("RTRS_TEST_ADDRESS");
    ASSERT_NE(text, nullptr) << "set RTRS_TEST_ADDRESS";
    address_ = *SocketAddress::Parse(text, 0);
    absl::StatusOr<std::string> name = FindDeviceOfAddress(address_);
    ASSERT_TRUE(name.ok()) << name.status();
    absl::StatusOr<std::unique_ptr<Fabric>> fabric = OpenDevice(*name);
    ASSERT_TRUE(fabric.ok()) << fabric.status();
    fabric_ = *std::move(fabric);
    server_ = std::make_unique<Side>(fabric_.get());
    client_ = std::make_unique<Side>(fabric_.get());
    absl::StatusOr<std::unique_ptr<Listener>> listener =
        server_->channel->Listen(address_, 8);
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
  }

  PathSpec Path() const {
    return *ParsePathSpec("ip:" + address_.HostString(),
                          listener_->local_address().port());
  }

  // Steps both sides, asleep in between, until `done`; false when that takes
  // more than 30 s.
  bool Until(const std::function<bool()>& done) {
    const absl::Time limit = Clock::System()->Now() + absl::Seconds(30);
    while (Clock::System()->Now() < limit) {
      server_->Step();
      client_->Step();
      if (done()) return true;
      const bool idle = server_->channel->Arm() && client_->channel->Arm();
      pollfd fds[] = {{server_->channel->fd(), POLLIN, 0},
                      {client_->channel->fd(), POLLIN, 0}};
      const absl::Time wake =
          std::min(limit, std::min(server_->channel->NextDeadline(),
                                   client_->channel->NextDeadline()));
      const int64_t ms = std::max<int64_t>(
          0, absl::ToInt64Milliseconds(wake - Clock::System()->Now()) + 1);
      if (idle) poll(fds, 2, static_cast<int>(ms));
    }
    return false;
  }
  bool UntilServer(CmEvent::Type type) {
    return Until([&] { return server_->Find(type) != nullptr; });
  }
  bool UntilClient(CmEvent::Type type) {
    return Until([&] { return client_->Find(type) != nullptr; });
  }

  void StartConnect(absl::Span<const uint8_t> data = {}) {
    client_->qp = *client_->channel->CreateQp(client_->Init());
    ASSERT_TRUE(client_->qp->Connect(Path(), data, absl::Seconds(20)).ok());
  }
  // The server's queue pair, before its Accept.
  void AwaitRequest() {
    ASSERT_TRUE(UntilServer(CmEvent::Type::kConnectRequest));
    server_->qp = *server_->channel->CreateQp(server_->Init());
  }
  void Accept(absl::Span<const uint8_t> data = {}) {
    CmEvent* event = server_->Find(CmEvent::Type::kConnectRequest);
    ASSERT_TRUE(server_->qp->Accept(std::move(event->request), data).ok());
  }
  void Connect() {
    StartConnect();
    AwaitRequest();
    Accept();
    ASSERT_TRUE(UntilClient(CmEvent::Type::kEstablished));
    ASSERT_TRUE(UntilServer(CmEvent::Type::kEstablished));
  }

  SocketAddress address_;
  std::unique_ptr<Fabric> fabric_;
  std::unique_ptr<Side> server_;
  std::unique_ptr<Side> client_;
  std::unique_ptr<Listener> listener_;

  void TearDown() override {
    // Requests and queue pairs before channels, all before the fabric.
    for (Side* side : {server_.get(), client_.get()}) {
      if (side == nullptr) continue;
      side->events.clear();
      side->qp.reset();
    }
    listener_.reset();
    for (Side* side : {server_.get(), client_.get()}) {
      if (side != nullptr) side->cq.reset();
    }
  }
};

}  // namespace rtrs::fabric::verbs

#endif  // TESTS_FABRIC_VERBS_DEVICE_FIXTURE_H_
