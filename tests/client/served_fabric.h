// The loopback fabric with a fake server inside it: whoever makes progress on
// the client's channel also moves the server. So BlockingSession can be tested
// with threads although neither fabric nor server knows any: the engine's
// lock is all that keeps them apart, which the thread sanitizer checks.
#ifndef TESTS_CLIENT_SERVED_FABRIC_H_
#define TESTS_CLIENT_SERVED_FABRIC_H_

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "rtrs/fabric/fabric.h"
#include "tests/support/loopback_fabric.h"

namespace rtrs::client {

// What runs at each step of the client's channel; returns when it wants to run
// again at the latest.
using ServeStep = std::function<absl::Time()>;

class ServedChannel : public fabric::EventChannel {
 public:
  ServedChannel(std::unique_ptr<fabric::EventChannel> inner, ServeStep* step)
      : inner_(std::move(inner)), step_(step) {}

  absl::StatusOr<std::unique_ptr<fabric::CompletionQueue>> CreateCq(
      uint32_t entries) override {
    return inner_->CreateCq(entries);
  }
  absl::StatusOr<std::unique_ptr<fabric::QueuePair>> CreateQp(
      const fabric::QueuePairInit& init) override {
    return inner_->CreateQp(init);
  }
  absl::StatusOr<std::unique_ptr<fabric::Listener>> Listen(
      const SocketAddress& address, int backlog) override {
    return inner_->Listen(address, backlog);
  }
  bool Progress() override {
    Step();
    return inner_->Progress();
  }
  void Flush() override { inner_->Flush(); }
  bool NextEvent(fabric::CmEvent* event) override {
    return inner_->NextEvent(event);
  }
  int fd() const override { return inner_->fd(); }
  bool Arm() override {
    Step();
    return inner_->Arm();
  }
  absl::Time NextDeadline() const override {
    return std::min(next_, inner_->NextDeadline());
  }

 private:
  void Step() {
    if (*step_) next_ = (*step_)();
  }

  std::unique_ptr<fabric::EventChannel> inner_;
  ServeStep* const step_;
  absl::Time next_ = absl::InfiniteFuture();
};

class ServedFabric : public fabric::Fabric {
 public:
  const fabric::DeviceAttr& device() const override { return inner_.device(); }
  absl::StatusOr<std::unique_ptr<fabric::ProtectionDomain>> AllocPd() override {
    return inner_.AllocPd();
  }
  absl::StatusOr<std::unique_ptr<fabric::EventChannel>> CreateEventChannel()
      override {
    auto channel = inner_.CreateEventChannel();
    if (!channel.ok()) return channel.status();
    return std::make_unique<ServedChannel>(*std::move(channel), &step);
  }
  // For the server.
  fabric::LoopbackFabric* inner() { return &inner_; }

  ServeStep step;

 private:
  fabric::LoopbackFabric inner_;
};

}  // namespace rtrs::client

#endif  // TESTS_CLIENT_SERVED_FABRIC_H_
