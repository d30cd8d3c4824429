// The server as it runs: two workers with their threads, over softiwarp on
// loopback TCP, with several clients in threads of their own.
#include "rtrs/fabric/softiwarp/softiwarp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <thread>

#include "rtrs/base/clock.h"
#include "rtrs/base/mutex.h"
#include "rtrs/fabric/softiwarp/tcp_transport.h"
#include "rtrs/server/worker_thread.h"
#include "tests/rtrs_server/raw_client.h"

namespace rtrs::server {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);

// Answers reads with what the last write of the chunk left there. Completes
// some requests later, on the worker's next task.
class EchoHandler : public Handler {
 public:
  absl::Status OnSessionUp(Session*) override {
    ++ups;
    return absl::OkStatus();
  }
  void OnSessionDown(Session*) override { ++downs; }
  void OnRequest(Request* request) override {
    if (request->direction == Direction::kRead) {
      std::fill(request->data.begin(), request->data.end(),
                request->user_message.empty() ? 0 : request->user_message[0]);
    }
    if (hold) {
      held = request;
      held_event.Notify();
      return;
    }
    if (++requests % 7 == 0) {
      request->worker->Post([request] { request->Complete(0); });
    } else {
      request->Complete(0);
    }
  }
  // With `hold` the next request is kept until it is released.
  void AwaitHeld() {
    ASSERT_TRUE(held_event.WaitForNotificationWithTimeout(kPatience));
  }
  void ReleaseHeld() {
    held->worker->Post([request = held] { request->Complete(0); });
  }
  std::atomic<bool> hold{false};
  Request* held = nullptr;
  Notification held_event;

  std::atomic<int> ups{0};
  std::atomic<int> downs{0};
  std::atomic<int> requests{0};
};

class SoftiwarpTest : public testing::Test {
 protected:
  void SetUp() override { Start(ServerOptions()); }
  void Start(ServerOptions options) {
    fabric_ = fabric::NewSoftiwarp({}, fabric::SystemTcpTransport(),
                                   Clock::System(), Random::System());
    options.sess_queue_depth = 16;
    options.max_chunk_size = 16384;
    options.workers = 2;
    auto made = Server::Create({fabric_.get()}, Clock::System(),
                               Random::System(), options, &handler_);
    ASSERT_TRUE(made.ok()) << made.status();
    server_ = *std::move(made);
    address_ = *server_->Listen(*SocketAddress::Parse("127.0.0.1", 0));
    for (int i = 0; i < server_->worker_count(); ++i) {
      threads_.push_back(std::make_unique<WorkerThread>(server_->worker(i)));
    }
  }
  void TearDown() override {
    Notification done;
    server_->Shutdown([&done] { done.Notify(); });
    EXPECT_TRUE(done.WaitForNotificationWithTimeout(absl::Seconds(60)));
    threads_.clear();
    EXPECT_EQ(server_->stats().connections, 0u);
    EXPECT_EQ(handler_.ups, handler_.downs);
  }
  // A client that sleeps on its channel until something comes.
  std::unique_ptr<RawClient> Client() {
    auto client = std::make_unique<RawClient>(
        fabric_.get(), address_, [](fabric::EventChannel* channel) {
          if (!channel->Arm()) return true;
          pollfd poll_fd = {channel->fd(), POLLIN, 0};
          return poll(&poll_fd, 1,
                      static_cast<int>(absl::ToInt64Milliseconds(kPatience))) >
                 0;
        });
    client->answer_heartbeats = true;
    return client;
  }
  // Waits until no session is left; the server notices disconnects by itself.
  void WaitEmpty() {
    const absl::Time give_up = absl::Now() + kPatience;
    while (server_->stats().sessions != 0 && absl::Now() < give_up) {
      std::this_thread::yield();
    }
    EXPECT_EQ(server_->stats().sessions, 0u);
  }
  // Reads and writes over all chunks and connections.
  void Exercise(RawClient* client, uint16_t cid_num, int rounds) {
    const std::vector<uint8_t> data(4096, 0x77);
    for (int round = 0; round < rounds; ++round) {
      const auto mark = static_cast<uint8_t>(round + 1);
      const std::vector<uint8_t> user(32, mark);
      for (uint32_t n = 0; n < 16; ++n) {
        const auto cid = static_cast<uint16_t>((n + round) % cid_num);
        if (n % 2 == 0) {
          client->SendWrite(cid, n, data, user);
        } else {
          client->SendRead(cid, n, user,
                           {.data_len = 4096, .descriptor = 4096});
        }
      }
      for (uint32_t n = 0; n < 16; ++n) {
        ASSERT_EQ(client->ReceiveError(), 0) << round;
      }
      ASSERT_EQ(client->read_buffer()[0], mark);
      ASSERT_EQ(client->read_buffer()[4095], mark);
    }
  }

  // `count` sessions of four connections, each in a thread of its own.
  void ServeAtOnce(int count) {
    std::vector<std::thread> clients;
    for (int i = 0; i < count; ++i) {
      clients.emplace_back([this, i] {
        auto client = Client();
        ASSERT_TRUE(client->Establish(4, "client" + std::to_string(i)));
        Exercise(client.get(), 4, 50);
        client->Disconnect();
      });
    }
    for (std::thread& client : clients) client.join();
    WaitEmpty();
    EXPECT_EQ(handler_.requests, count * 50 * 16);
    EXPECT_EQ(server_->stats().protocol_errors, 0u);
  }

  std::unique_ptr<fabric::Fabric> fabric_;
  EchoHandler handler_;
  std::unique_ptr<Server> server_;
  std::vector<std::unique_ptr<WorkerThread>> threads_;
  SocketAddress address_;
};

TEST_F(SoftiwarpTest, ServesSeveralClientsAtOnce) { ServeAtOnce(3); }

TEST_F(SoftiwarpTest, ConnectsAndDisconnectsManyTimes) {
  for (int i = 0; i < 100; ++i) {
    auto client = Client();
    ASSERT_TRUE(client->Establish(3, "again")) << i;
    Exercise(client.get(), 3, 1);
    client->Disconnect();
    WaitEmpty();
  }
  EXPECT_EQ(handler_.downs, 100);
}

TEST_F(SoftiwarpTest, ClientsThatVanishLeaveNothing) {
  for (int i = 0; i < 30; ++i) {
    auto client = Client();
    ASSERT_TRUE(client->Establish(3, "vanishing")) << i;
    const std::vector<uint8_t> user(32, 1);
    for (uint32_t n = 0; n < 16; ++n) {
      client->SendWrite(static_cast<uint16_t>(n % 3), n, {}, user);
    }
    client.reset();  // with its requests in flight
    WaitEmpty();
  }
}

TEST_F(SoftiwarpTest, HostileClientsDoNotDisturbTheOthers) {
  std::atomic<bool> stop{false};
  std::thread hostile([this, &stop] {
    for (int i = 0; !stop; ++i) {
      auto client = Client();
      ASSERT_TRUE(client->Establish(3, "hostile"));
      const std::vector<uint8_t> junk(64, static_cast<uint8_t>(i));
      switch (i % 4) {
        case 0:
          client->SendHeader(1, 0, 64, junk);  // no WRITE or READ
          break;
        case 1:
          client->SendImm(2, 0x0fffffff);
          break;
        case 2:
          client->Send(0, junk);  // nobody asked
          break;
        case 3:
          client->chunks().rkey ^= 0x55555500;
          client->SendWrite(1, 0, junk, junk);
          break;
      }
      EXPECT_TRUE(client->WaitDisconnected(0));
      client.reset();
      const absl::Time give_up = absl::Now() + kPatience;
      while (server_->stats().sessions > 1 && absl::Now() < give_up) {
        std::this_thread::yield();
      }
    }
  });
  auto client = Client();
  ASSERT_TRUE(client->Establish(4, "bystander"));
  Exercise(client.get(), 4, 100);
  stop = true;
  hostile.join();
  Exercise(client.get(), 4, 1);
  client->Disconnect();
  WaitEmpty();
}

TEST_F(SoftiwarpTest, ShutdownWhileClientsWork) {
  std::vector<std::thread> clients;
  std::atomic<int> up{0};
  for (int i = 0; i < 2; ++i) {
    clients.emplace_back([this, i, &up] {
      auto client = Client();
      ASSERT_TRUE(client->Establish(3, "busy" + std::to_string(i)));
      const std::vector<uint8_t> user(32, 1);
      for (bool first = true;; first = false) {
        client->SendWrite(1, 0, {}, user);
        if (client->ReceiveError() != 0) break;
        if (first) ++up;
      }
      EXPECT_TRUE(client->WaitDisconnected(0));
    });
  }
  const absl::Time give_up = absl::Now() + kPatience;
  while (up < 2 && absl::Now() < give_up) std::this_thread::yield();
  Notification done;
  server_->Shutdown([&done] { done.Notify(); });
  EXPECT_TRUE(done.WaitForNotificationWithTimeout(absl::Seconds(60)));
  for (std::thread& client : clients) client.join();
}

class AlwaysInvalidateTest : public SoftiwarpTest {
 protected:
  void SetUp() override {
    ServerOptions options;
    options.always_invalidate = true;
    Start(options);
  }
};

TEST_F(AlwaysInvalidateTest, ServesSeveralClientsOverAllConnections) {
  // Each chunk goes from connection to connection.
  ServeAtOnce(2);
}

TEST_F(AlwaysInvalidateTest, EachResponseBringsAFreshRkey) {
  auto client = Client();
  ASSERT_TRUE(client->Establish(3, "fresh"));
  const std::vector<uint8_t> user(32, 1);
  for (int i = 0; i < 20; ++i) {
    const uint32_t before = client->chunk_rkey(3);
    client->SendWrite(1, 3, {}, user);
    ASSERT_EQ(client->ReceiveError(), 0);
    ASSERT_NE(client->chunk_rkey(3), before);
  }
  client->Disconnect();
  WaitEmpty();
}

TEST_F(AlwaysInvalidateTest, AnOldRkeyIsARemoteAccessError) {
  auto client = Client();
  ASSERT_TRUE(client->Establish(3, "old"));
  const std::vector<uint8_t> user(32, 1);
  const uint32_t old = client->chunk_rkey(3);
  client->SendWrite(1, 3, {}, user);
  ASSERT_EQ(client->ReceiveError(), 0);
  client->set_chunk_rkey(3, old);
  client->SendWrite(2, 3, {}, user);
  EXPECT_TRUE(client->WaitDisconnected(2));
  EXPECT_THAT(client->disconnect_reason(2), testing::HasSubstr("STag"));
  EXPECT_EQ(handler_.requests, 1);
  client.reset();
  WaitEmpty();
}

TEST_F(AlwaysInvalidateTest, TheRkeyIsDeadWhileTheRequestRuns) {
  auto client = Client();
  ASSERT_TRUE(client->Establish(3, "running"));
  const std::vector<uint8_t> user(32, 1);
  handler_.hold = true;
  client->SendWrite(1, 3, {}, user);
  handler_.AwaitHeld();
  client->SendWrite(2, 3, {}, user);
  EXPECT_TRUE(client->WaitDisconnected(2));
  EXPECT_THAT(client->disconnect_reason(2), testing::HasSubstr("STag"));
  handler_.ReleaseHeld();
  client.reset();
  WaitEmpty();
}

TEST_F(AlwaysInvalidateTest, ReadsThatAskForAnInvalidationGetIt) {
  auto client = Client();
  ASSERT_TRUE(client->Establish(2, "inval"));
  const std::vector<uint8_t> user(32, 9);
  client->SendRead(1, 0, user,
                   {.data_len = 512, .descriptor = 512, .need_inval = true});
  const auto invalidation = client->Receive();
  ASSERT_TRUE(invalidation.has_value());
  EXPECT_NE(invalidation->wc.flags & fabric::kWithInv, 0);
  EXPECT_EQ(client->ReceiveError(), 0);
  EXPECT_EQ(client->read_buffer()[511], 9);
  client->Disconnect();
  WaitEmpty();
}

TEST_F(AlwaysInvalidateTest, ClientsThatVanishLeaveNothing) {
  for (int i = 0; i < 30; ++i) {
    auto client = Client();
    ASSERT_TRUE(client->Establish(3, "vanishing")) << i;
    const std::vector<uint8_t> user(32, 1);
    for (uint32_t n = 0; n < 16; ++n) {
      client->SendWrite(static_cast<uint16_t>(n % 3), n, {}, user);
    }
    client.reset();
    WaitEmpty();
  }
}

}  // namespace
}  // namespace rtrs::server
