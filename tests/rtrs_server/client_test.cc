// The client engine against the server engine over the loopback fabric, in one
// thread: the two agree on every step of a session's life.
#include <errno.h>
#include <gtest/gtest.h>

#include "rtrs/base/path_spec.h"
#include "rtrs/client/session.h"
#include "rtrs/server/notice_queue.h"
#include "tests/rtrs_server/harness.h"

namespace rtrs::server {
namespace {

// A block of memory behind each session: requests name an offset in their
// first 4 bytes.
class MemoryHandler : public FakeHandler {
 public:
  void OnRequest(Request* request) override {
    uint32_t offset = 0;
    std::memcpy(&offset, request->user_message.data(), sizeof(offset));
    if (offset + request->data.size() > bytes.size()) {
      return request->Complete(ENOSPC);
    }
    if (request->direction == Direction::kWrite) {
      std::copy(request->data.begin(), request->data.end(),
                bytes.begin() + offset);
    } else {
      std::copy_n(bytes.begin() + offset, request->data.size(),
                  request->data.begin());
    }
    request->Complete(0);
  }
  std::vector<uint8_t> bytes = std::vector<uint8_t>(1 << 20);
};

struct IoRequest {
  IoRequest(client::Direction direction, uint32_t offset,
            std::vector<uint8_t> contents)
      : data(std::move(contents)), message(32) {
    std::memcpy(message.data(), &offset, sizeof(offset));
    request.direction = direction;
    request.user_message = message;
    request.data = data.data();
    request.data_len = static_cast<uint32_t>(data.size());
    request.context = this;
    request.done = [](client::Request* r) {
      static_cast<IoRequest*>(r->context)->done = true;
    };
  }
  std::vector<uint8_t> data;
  std::vector<uint8_t> message;
  client::Request request;
  bool done = false;
};

class ClientTest : public ServerTest, public client::SessionObserver {
 protected:
  void StartBoth() {
    auto made =
        Server::Create({&fabric}, &clock, Random::System(), options, &memory);
    ASSERT_TRUE(made.ok()) << made.status();
    server = *std::move(made);
    address = *server->Listen(*SocketAddress::Parse("127.0.0.1", 0));
    client::SessionOptions session_options;
    session_options.sessname = "host1";
    session_options.io_connections = 3;
    session_options.paths.push_back(
        *ParsePathSpec("ip:127.0.0.1", address.port()));
    channel = *fabric.CreateEventChannel();
    session = client::Session::Create(&fabric, channel.get(), &clock, &random,
                                      session_options, this);
    session->Start();
    Run();
    ASSERT_EQ(session->state(), client::SessionState::kConnected) << why;
  }
  void Run() {
    for (int quiet = 0; quiet < 3; ++quiet) {
      const bool progress = session->Progress();
      if (Step() || progress) quiet = -1;
    }
  }
  void OnSessionState(client::SessionState, const absl::Status& w) override {
    why = w;
  }
  void OnNotice(uint32_t payload) override { notices.push_back(payload); }

  MemoryHandler memory;
  SeededRandom random{3};
  std::unique_ptr<fabric::EventChannel> channel;
  std::unique_ptr<client::Session> session;
  absl::Status why;
  std::vector<uint32_t> notices;
};

TEST_F(ClientTest, Connects) {
  StartBoth();
  EXPECT_EQ(session->limits().queue_depth, 8u);
  EXPECT_EQ(session->limits().max_io_size, 4096u);
  EXPECT_EQ(server->stats().connections, 4u);
  ASSERT_EQ(memory.sessions.size(), 1u);
  EXPECT_EQ(memory.sessions[0]->name(), "host1");
}

TEST_F(ClientTest, ManyRequestsMoreThanPermits) {
  StartBoth();
  for (int round = 0; round < 20; ++round) {
    std::vector<std::unique_ptr<IoRequest>> writes;
    std::vector<std::unique_ptr<IoRequest>> reads;
    for (uint32_t n = 0; n < 64; ++n) {
      writes.push_back(std::make_unique<IoRequest>(
          client::Direction::kWrite, n * 4096,
          std::vector<uint8_t>(4096, static_cast<uint8_t>(n + round))));
      writes.back()->request.affinity = n;
      session->Submit(&writes.back()->request);
    }
    Run();
    for (uint32_t n = 0; n < 64; ++n) {
      ASSERT_TRUE(writes[n]->done);
      ASSERT_EQ(writes[n]->request.error, 0);
      reads.push_back(std::make_unique<IoRequest>(
          client::Direction::kRead, n * 4096, std::vector<uint8_t>(4096)));
      reads.back()->request.affinity = n;
      session->Submit(&reads.back()->request);
    }
    Run();
    for (uint32_t n = 0; n < 64; ++n) {
      ASSERT_TRUE(reads[n]->done);
      ASSERT_EQ(reads[n]->request.error, 0);
      ASSERT_EQ(reads[n]->data, writes[n]->data);
    }
  }
  EXPECT_EQ(server->stats().protocol_errors, 0u);
}

TEST_F(ClientTest, ErrnoArrives) {
  StartBoth();
  IoRequest request(client::Direction::kRead, 1 << 20,
                    std::vector<uint8_t>(512));
  session->Submit(&request.request);
  Run();
  EXPECT_TRUE(request.done);
  EXPECT_EQ(request.request.error, ENOSPC);
  EXPECT_FALSE(request.request.local_error);
}

TEST_F(ClientTest, HeartbeatsKeepAnIdleSessionUp) {
  StartBoth();
  for (int i = 0; i < 100; ++i) {
    clock.Advance(absl::Seconds(1));
    Run();
  }
  EXPECT_EQ(session->state(), client::SessionState::kConnected) << why;
  EXPECT_EQ(memory.sessions.size(), 1u);
}

TEST_F(ClientTest, NoticesArriveOneAfterTheOther) {
  options.capabilities.bits = wire::Capabilities::kNotice;
  StartBoth();
  std::vector<uint32_t> sent;
  for (uint32_t i = 0; i < NoticeQueue::kMaxWaiting; ++i) {
    memory.sessions[0]->SendNotice(i);
    sent.push_back(i);
  }
  Run();
  EXPECT_EQ(notices, sent);
  EXPECT_EQ(server->stats().protocol_errors, 0u);
}

TEST_F(ClientTest, CloseEndsTheSession) {
  StartBoth();
  session->Close();
  Run();
  EXPECT_EQ(session->state(), client::SessionState::kClosed);
  EXPECT_EQ(memory.downs, std::vector<std::string>{"host1"});
  EXPECT_EQ(server->stats().connections, 0u);
}

TEST_F(ClientTest, ShutdownReachesTheClient) {
  StartBoth();
  bool done = false;
  server->Shutdown([&done] { done = true; });
  Run();
  EXPECT_TRUE(done);
  EXPECT_NE(session->state(), client::SessionState::kConnected);
}

}  // namespace
}  // namespace rtrs::server
