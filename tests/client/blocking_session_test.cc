// BlockingSession: many threads, one poller.
#include "rtrs/client/blocking_session.h"

#include <errno.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/mutex.h"
#include "rtrs/wire/immediate.h"
#include "tests/client/fake_server.h"
#include "tests/client/served_fabric.h"
#include "tests/client/session_fixture.h"

namespace rtrs::client {
namespace {

absl::Time Later(absl::Duration d = absl::Seconds(60)) {
  return Clock::System()->Now() + d;
}

// Said once, heard by one thread.
class Event {
 public:
  void Notify() { said_.set_value(); }
  bool Wait(std::chrono::seconds limit = std::chrono::seconds(60)) {
    return said_.get_future().wait_for(limit) == std::future_status::ready;
  }

 private:
  std::promise<void> said_;
};

class BlockingSessionTest : public testing::Test {
 protected:
  BlockingSessionTest() : server_(fabric_.inner(), "127.0.0.1", {}) {
    server_.config.auto_respond = false;
    options_.sessname = "clt";
    options_.paths.push_back(*ParsePathSpec("ip:127.0.0.1", server_.port()));
    fabric_.step = [this] { return Serve(); };
  }

  // Reads answer with the first byte of their message, after `delay_`.
  absl::Time Serve() {
    MutexLock lock(&mu_);
    while (server_.Step()) {
    }
    if (command_) {
      command_();
      command_ = nullptr;
    }
    if (on_step_) on_step_();
    changed_.notify_all();
    const absl::Time now = Clock::System()->Now();
    for (; seen_ < server_.requests.size(); ++seen_) {
      if (answer_) due_.emplace(now + delay_, seen_);
    }
    while (!due_.empty() && due_.begin()->first <= now) {
      const FakeServer::Received request =
          server_.requests[due_.begin()->second];
      due_.erase(due_.begin());
      const size_t length = request.header.descriptor.length;
      server_.Respond(
          request, 0,
          std::vector<uint8_t>(request.header.has_descriptor ? length : 0,
                               request.user_message.at(0)));
    }
    return due_.empty() ? absl::InfiniteFuture() : due_.begin()->first;
  }

  // Lets the server do something, in the thread that moves it, and soon.
  void Command(std::function<void()> command) {
    std::unique_lock<Mutex> lock(mu_);
    command_ = std::move(command);
    changed_.wait(lock, [this] { return !command_; });
  }

  std::unique_ptr<BlockingSession> Open() {
    auto session = BlockingSession::Open(&fabric_, options_);
    EXPECT_TRUE(session.ok()) << session.status();
    return session.ok() ? *std::move(session) : nullptr;
  }

  ServedFabric fabric_;
  Mutex mu_;
  std::condition_variable_any changed_;
  FakeServer server_;
  SessionOptions options_;
  absl::Duration delay_ = absl::ZeroDuration();
  std::function<void()> command_;
  std::function<void()> on_step_;
  bool answer_ = true;
  size_t seen_ = 0;
  std::multimap<absl::Time, size_t> due_;
};

TEST_F(BlockingSessionTest, RunReturnsWhenAllAreDone) {
  auto session = Open();
  ASSERT_NE(session, nullptr);
  EXPECT_EQ(session->state(), SessionState::kConnected);
  EXPECT_EQ(session->limits().queue_depth, 8u);
  TestRequest read(Direction::kRead, 512);
  TestRequest write(Direction::kWrite, 512);
  write.message[0] = 7;
  Request* const requests[] = {&read.request, &write.request};
  session->Run(requests, Later());
  EXPECT_EQ(read.request.error, 0);
  EXPECT_EQ(write.request.error, 0);
  EXPECT_EQ(read.data, std::vector<uint8_t>(512, 0x80));
  EXPECT_EQ(server_.requests.at(1).data, write.data);
}

TEST_F(BlockingSessionTest, OpenTellsWhyItFailed) {
  options_.paths = {*ParsePathSpec("ip:127.0.0.9", 99)};
  auto session = BlockingSession::Open(&fabric_, options_);
  ASSERT_FALSE(session.ok());
  EXPECT_EQ(ErrnoOf(session.status()), ECONNREFUSED);
  EXPECT_NE(session.status().message().find("127.0.0.9"), std::string::npos)
      << session.status();
}

// Calls that leave their requests to whoever takes the next answer do not wait
// for answers that never come, nor until the poller wakes to say that it waits,
// which is after 5 s.
TEST_F(BlockingSessionTest, AllIsSentThoughNothingIsAnswered) {
  answer_ = false;
  constexpr size_t kThreads = 8;  // as many as there are permits
  Event all;
  on_step_ = [&] {
    if (server_.requests.size() == kThreads && !std::exchange(answer_, true)) {
      all.Notify();
      seen_ = 0;
    }
  };
  auto session = Open();
  ASSERT_NE(session, nullptr);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      TestRequest read(Direction::kRead, 512);
      Request* const request = &read.request;
      session->Run(absl::MakeConstSpan(&request, 1), Later());
      EXPECT_EQ(read.request.error, 0);
    });
  }
  EXPECT_TRUE(all.Wait(std::chrono::seconds(4)));
  for (std::thread& thread : threads) thread.join();
}

TEST_F(BlockingSessionTest, ManyThreads) {
  delay_ = absl::Microseconds(300);
  auto session = Open();
  ASSERT_NE(session, nullptr);
  constexpr int kThreads = 16;
  constexpr int kRuns = 300;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRuns; ++i) {
        TestRequest read(Direction::kRead, 256);
        TestRequest other(Direction::kRead, 64);
        read.message[0] = static_cast<uint8_t>(t * 16 + i % 16);
        other.message[0] = static_cast<uint8_t>(read.message[0] + 1);
        read.request.affinity = static_cast<uint32_t>(t);
        Request* const requests[] = {&read.request, &other.request};
        session->Run(absl::MakeSpan(requests, i % 3 == 0 ? 2 : 1), Later());
        if (read.request.error != 0 || read.data[255] != read.message[0] ||
            (i % 3 == 0 && other.data[63] != other.message[0])) {
          ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(BlockingSessionTest, SubmitCompletesWithoutAnyCall) {
  auto session = Open();
  ASSERT_NE(session, nullptr);
  delay_ = absl::Milliseconds(1);
  for (int i = 0; i < 20; ++i) {
    Event done;
    TestRequest read(Direction::kRead, 512);
    read.request.context = &done;
    read.request.done = [](Request* r) {
      static_cast<Event*>(r->context)->Notify();
    };
    session->Submit(&read.request);
    ASSERT_TRUE(done.Wait());
    EXPECT_EQ(read.request.error, 0);
    // Once more behind a call that had the poller's role.
    TestRequest run(Direction::kRead, 512);
    Request* const requests[] = {&run.request};
    session->Run(requests, Later());
  }
}

TEST_F(BlockingSessionTest, SubmitBesideCalls) {
  delay_ = absl::Microseconds(200);
  auto session = Open();
  ASSERT_NE(session, nullptr);
  std::atomic<bool> stop{false};
  std::thread runner([&] {
    while (!stop) {
      TestRequest run(Direction::kRead, 64);
      Request* const requests[] = {&run.request};
      session->Run(requests, Later());
    }
  });
  for (int i = 0; i < 300; ++i) {
    Event done;
    TestRequest read(Direction::kRead, 512);
    read.request.context = &done;
    read.request.done = [](Request* r) {
      static_cast<Event*>(r->context)->Notify();
    };
    session->Submit(&read.request);
    ASSERT_TRUE(done.Wait());
  }
  stop = true;
  runner.join();
}

TEST_F(BlockingSessionTest, DeadlineGivesUp) {
  auto session = Open();
  ASSERT_NE(session, nullptr);
  {
    MutexLock lock(&mu_);
    answer_ = false;
  }
  // The poller and a sleeper time out; both paths through the code.
  std::vector<std::thread> threads;
  std::atomic<int> local{0};
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      TestRequest read(Direction::kRead, 512);
      Request* const requests[] = {&read.request};
      session->Run(requests, Later(absl::Milliseconds(100)));
      if (read.request.local_error && (read.request.error == ETIMEDOUT ||
                                       read.request.error == ECONNABORTED)) {
        ++local;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(local, 3);
  EXPECT_EQ(session->state(), SessionState::kDisconnected);
}

TEST_F(BlockingSessionTest, SleeperWithAnEarlierDeadlineTimesOut) {
  auto session = Open();
  ASSERT_NE(session, nullptr);
  {
    MutexLock lock(&mu_);
    answer_ = false;
  }
  TestRequest slow(Direction::kRead, 512);
  std::thread poller([&] {
    Request* const requests[] = {&slow.request};
    session->Run(requests, Later());
  });
  for (bool sent = false; !sent; std::this_thread::yield()) {
    MutexLock lock(&mu_);
    sent = !server_.requests.empty();
  }
  TestRequest quick(Direction::kRead, 512);
  Request* const requests[] = {&quick.request};
  session->Run(requests, Later(absl::Milliseconds(50)));
  EXPECT_EQ(quick.request.error, ETIMEDOUT);
  poller.join();
  EXPECT_EQ(slow.request.error, ECONNABORTED);
}

TEST_F(BlockingSessionTest, HousekeeperSendsHeartbeats) {
  options_.heartbeat_interval = absl::Milliseconds(10);
  options_.heartbeat_missed_max = 1000000;
  auto session = Open();
  ASSERT_NE(session, nullptr);
  for (int i = 0; i < 3; ++i) {
    {
      std::unique_lock<Mutex> lock(mu_);
      changed_.wait(lock, [this] { return server_.heartbeats > 0; });
      server_.heartbeats = 0;
    }
    // Anything received lets the next heartbeat go out.
    Command([this] { server_.SendImm(0, 0, 0x90000000); });
  }
}

TEST_F(BlockingSessionTest, ObserverHearsOfALossWhileIdle) {
  options_.reconnect_delay_min = options_.reconnect_delay_max = absl::Hours(1);
  auto session = Open();
  ASSERT_NE(session, nullptr);
  Event lost;
  session->SetStateCallback([&](SessionState state, const absl::Status& why) {
    if (state == SessionState::kDisconnected) {
      EXPECT_FALSE(why.ok());
      lost.Notify();
    }
  });
  Command([this] { server_.Disconnect(0, 1); });
  EXPECT_TRUE(lost.Wait());
  session->SetStateCallback(nullptr);
  TestRequest read(Direction::kRead, 512);
  Request* const requests[] = {&read.request};
  session->Run(requests, Later());
  EXPECT_EQ(read.request.error, ECONNABORTED);
}

TEST_F(BlockingSessionTest, NoticeIsHeardWhileIdle) {
  server_.config.capabilities = wire::Capabilities::kNotice;
  auto session = Open();
  ASSERT_NE(session, nullptr);
  Event heard;
  session->SetNoticeCallback([&heard](uint32_t payload) {
    EXPECT_EQ(payload, 5u);
    heard.Notify();
  });
  Command([this] {
    server_.SendImm(0, 0, wire::EncodeNoticeImm(wire::ImmType::kNotice, 5));
  });
  EXPECT_TRUE(heard.Wait());
  session->SetNoticeCallback(nullptr);
}

TEST_F(BlockingSessionTest, LostPathComesBackWithoutAnyCall) {
  options_.heartbeat_interval = absl::Milliseconds(10);  // moves the server
  options_.heartbeat_missed_max = 1000000;
  auto session = Open();
  ASSERT_NE(session, nullptr);
  Event back;
  session->SetStateCallback([&back](SessionState state, const absl::Status&) {
    if (state == SessionState::kConnected) back.Notify();
  });
  TestRequest lost(Direction::kRead, 512);
  Command([this] { answer_ = false; });
  std::thread caller([&] {
    Request* const request = &lost.request;
    session->Run({&request, 1}, Later());
  });
  while (true) {  // until the request is there
    bool there = false;
    Command([this, &there] { there = !server_.requests.empty(); });
    if (there) break;
  }
  Command([this] { fabric::LoopbackFabric::Cut(server_.qp(0, 1)); });
  caller.join();
  EXPECT_EQ(lost.request.error, ECONNABORTED);
  EXPECT_TRUE(back.Wait());
  EXPECT_EQ(session->generation(), 2u);
  session->SetStateCallback(nullptr);
}

TEST_F(BlockingSessionTest, PathsChangeBesideCalls) {
  FakeServer::Config config;
  FakeServer second(fabric_.inner(), "127.0.0.2", config);
  fabric_.step = [this, &second] {
    while (second.Step()) {
    }
    return Serve();
  };
  auto session = Open();
  ASSERT_NE(session, nullptr);
  std::atomic<bool> stop = false;
  std::thread caller([&] {
    while (!stop) {
      TestRequest read(Direction::kRead, 512);
      Request* const request = &read.request;
      session->Run({&request, 1}, Later());
      EXPECT_EQ(read.request.error, 0);
    }
  });
  const PathSpec spec = *ParsePathSpec("ip:127.0.0.2", second.port());
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(session->ChangePath(PathChange::kAdd, spec).ok());
    EXPECT_EQ(session->paths().size(), 2u);
    EXPECT_TRUE(session->ChangePath(PathChange::kRemove, spec).ok());
    EXPECT_EQ(session->paths().size(), 1u);
  }
  stop = true;
  caller.join();
  session.reset();
  fabric_.step = [this] { return Serve(); };
}

TEST_F(BlockingSessionTest, DestructionDisconnectsEveryConnection) {
  auto session = Open();
  ASSERT_NE(session, nullptr);
  session.reset();
  EXPECT_EQ(server_.disconnects(), 3u);
}

}  // namespace
}  // namespace rtrs::client
