// What tests of the server share: a server over the loopback fabric, stepped
// in the test's thread, and a layer above that does as it is told.
#ifndef TESTS_RTRS_SERVER_HARNESS_H_
#define TESTS_RTRS_SERVER_HARNESS_H_

#include <errno.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/random.h"
#include "rtrs/server/server.h"
#include "tests/rtrs_server/raw_client.h"
#include "tests/support/loopback_fabric.h"

namespace rtrs::server {

class FakeHandler : public Handler {
 public:
  absl::Status OnSessionUp(Session* session) override {
    if (!up_status.ok()) return up_status;
    sessions.push_back(session);
    return absl::OkStatus();
  }
  void OnSessionDown(Session* session) override {
    EXPECT_EQ(std::erase(sessions, session), 1u);
    downs.push_back(session->name());
  }
  void OnRequest(Request* request) override {
    ++requests;
    user_message.assign(request->user_message.begin(),
                        request->user_message.end());
    if (request->direction == Direction::kWrite) {
      written.assign(request->data.begin(), request->data.end());
    }
    if (hold) {
      held.push_back(request);
      return;
    }
    if (request->direction == Direction::kRead && error == 0) {
      std::fill(request->data.begin(), request->data.end(), fill);
    }
    request->Complete(error);
  }

  absl::Status up_status;
  bool hold = false;  // keep requests in `held`
  int error = 0;
  uint8_t fill = 0xAB;  // what reads return

  std::vector<Session*> sessions;
  std::vector<std::string> downs;
  std::vector<Request*> held;
  int requests = 0;
  std::vector<uint8_t> user_message;
  std::vector<uint8_t> written;
};

// An event channel that keeps disconnects to itself when told so, as if the
// peer never answered, and counts flushes.
class TestChannel : public fabric::EventChannel {
 public:
  TestChannel(std::unique_ptr<fabric::EventChannel> inner, const bool* deaf,
              std::atomic<int>* flushes)
      : inner_(std::move(inner)), deaf_(deaf), flushes_(flushes) {}
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
  bool Progress() override { return inner_->Progress(); }
  void Flush() override {
    ++*flushes_;
    inner_->Flush();
  }
  bool NextEvent(fabric::CmEvent* event) override {
    while (inner_->NextEvent(event)) {
      if (!*deaf_ || event->type != fabric::CmEvent::Type::kDisconnected) {
        return true;
      }
    }
    return false;
  }
  int fd() const override { return inner_->fd(); }
  bool Arm() override { return inner_->Arm(); }
  absl::Time NextDeadline() const override { return inner_->NextDeadline(); }

 private:
  std::unique_ptr<fabric::EventChannel> inner_;
  const bool* deaf_;
  std::atomic<int>* flushes_;
};

// The loopback fabric with limits of the test's choice, for the server.
class TestFabric : public fabric::LoopbackFabric {
 public:
  TestFabric() : limits(LoopbackFabric::device()) {}
  const fabric::DeviceAttr& device() const override { return limits; }
  absl::StatusOr<std::unique_ptr<fabric::EventChannel>> CreateEventChannel()
      override {
    auto channel = LoopbackFabric::CreateEventChannel();
    if (!channel.ok()) return channel;
    return std::make_unique<TestChannel>(*std::move(channel), &deaf, &flushes);
  }
  absl::StatusOr<std::unique_ptr<fabric::ProtectionDomain>> AllocPd() override {
    if (no_memory) return ErrnoError(ENOMEM, "no protection domain");
    return LoopbackFabric::AllocPd();
  }
  fabric::DeviceAttr limits;
  bool deaf = false;
  bool no_memory = false;       // for protection domains
  std::atomic<int> flushes{0};  // of all channels
};

class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    options.sess_queue_depth = 8;
    options.max_chunk_size = 8192;
    options.workers = 2;
  }

  void Start() {
    auto made =
        Server::Create({&fabric}, &clock, Random::System(), options, &handler);
    ASSERT_TRUE(made.ok()) << made.status();
    server = *std::move(made);
    auto bound = server->Listen(*SocketAddress::Parse("127.0.0.1", 0));
    ASSERT_TRUE(bound.ok()) << bound.status();
    address = *bound;
  }

  // One round of every worker; true if any did anything.
  bool Step() {
    bool busy = false;
    for (int i = 0; i < server->worker_count(); ++i) {
      busy |= server->worker(i)->Progress();
    }
    return busy;
  }
  // Rounds until nothing happens any more.
  void Settle() {
    while (Step()) {
    }
  }

  std::unique_ptr<RawClient> Client() {
    return std::make_unique<RawClient>(
        &fabric, address, [this](fabric::EventChannel*) { return Step(); });
  }
  // A client whose path is up, with `cid_num` connections.
  std::unique_ptr<RawClient> Connected(const std::string& name,
                                       uint16_t cid_num = 2) {
    auto client = Client();
    EXPECT_TRUE(client->Establish(cid_num, name));
    return client;
  }
  // The server still serves `client`.
  void ExpectServes(RawClient* client) {
    const std::vector<uint8_t> user(32, 1);
    client->SendWrite(client->request.cid_num > 1 ? 1 : 0, 7, {}, user);
    EXPECT_EQ(client->ReceiveError(), 0);
  }

  TestFabric fabric;
  ManualClock clock;
  FakeHandler handler;
  ServerOptions options;
  std::unique_ptr<Server> server;
  SocketAddress address;
};

}  // namespace rtrs::server

#endif  // TESTS_RTRS_SERVER_HARNESS_H_
