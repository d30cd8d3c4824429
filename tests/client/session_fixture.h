// A client session against fake servers on the loopback fabric, in one thread
// with a clock that stands still.
#ifndef TESTS_CLIENT_SESSION_FIXTURE_H_
#define TESTS_CLIENT_SESSION_FIXTURE_H_

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/random.h"
#include "rtrs/client/session.h"
#include "tests/client/fake_server.h"
#include "tests/support/loopback_fabric.h"

namespace rtrs::client {

// A request with memory of its own, that remembers what became of it.
struct TestRequest {
  TestRequest(Direction direction, uint32_t data_len, size_t message_len = 32) {
    data.resize(data_len);
    message.resize(message_len);
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i);
    for (size_t i = 0; i < message.size(); ++i) {
      message[i] = static_cast<uint8_t>(0x80 + i);
    }
    request.direction = direction;
    request.user_message = message;
    request.data = data.data();
    request.data_len = data_len;
    request.context = this;
    request.done = [](Request* r) {
      ++static_cast<TestRequest*>(r->context)->done;
    };
  }
  TestRequest(const TestRequest&) = delete;

  std::vector<uint8_t> data;
  std::vector<uint8_t> message;
  Request request;
  int done = 0;
};

class SessionTest : public testing::Test, public SessionObserver {
 protected:
  explicit SessionTest(bool cheap_registration = true)
      : fabric_(1, cheap_registration) {
    options_.sessname = "clt";
  }

  FakeServer* AddServer(const std::string& address = "127.0.0.1",
                        FakeServer::Config config = {}) {
    servers_.push_back(std::make_unique<FakeServer>(&fabric_, address, config));
    AddPath(address, servers_.back()->port());
    return servers_.back().get();
  }
  void AddPath(const std::string& address, uint16_t port) {
    options_.paths.push_back(
        *ParsePathSpec(absl::StrCat("ip:", address), port));
  }

  void Start() {
    channel_ = *fabric_.CreateEventChannel();
    session_ = Session::Create(&fabric_, channel_.get(), &clock_, &random_,
                               options_, this);
    session_->Start();
  }
  // Runs everything until nothing moves any more.
  void Settle() {
    for (int quiet = 0, rounds = 0; quiet < 3 && rounds < 100000; ++rounds) {
      bool busy = session_ != nullptr && session_->Progress();
      for (const auto& server : servers_) busy = server->Step() || busy;
      quiet = busy ? 0 : quiet + 1;
    }
  }
  void Connect() {
    Start();
    Settle();
    ASSERT_EQ(session_->state(), SessionState::kConnected) << why_;
  }
  void Submit(TestRequest* request) {
    session_->Submit(&request->request);
    Settle();
  }

  void OnSessionState(SessionState state, const absl::Status& why) override {
    states_.push_back(state);
    why_ = why;
  }
  void OnNotice(uint32_t payload) override { notices_.push_back(payload); }

  fabric::LoopbackFabric fabric_;
  ManualClock clock_;
  SeededRandom random_{7};
  SessionOptions options_;
  std::vector<std::unique_ptr<FakeServer>> servers_;
  std::unique_ptr<fabric::EventChannel> channel_;
  std::unique_ptr<Session> session_;
  std::vector<SessionState> states_;
  absl::Status why_;
  std::vector<uint32_t> notices_;
};

}  // namespace rtrs::client

#endif  // TESTS_CLIENT_SESSION_FIXTURE_H_
