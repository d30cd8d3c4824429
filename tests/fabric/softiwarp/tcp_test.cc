// Two fabrics in two threads over real TCP, IPv4 and IPv6, spinning and
// sleeping.
#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <cstring>
#include <future>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/fabric/softiwarp/tcp_transport.h"
#include "tests/fabric/softiwarp/harness.h"

namespace rtrs::fabric {
namespace {

constexpr absl::Duration kHang = absl::Seconds(60);

struct Setting {
  const char* address;
  SoftiwarpOptions::Crc crc;
  bool sleeps;  // or spins
};

std::unique_ptr<Fabric> NewTcpFabric(SoftiwarpOptions::Crc crc) {
  return NewSoftiwarp({crc}, SystemTcpTransport(), Clock::System(),
                      Random::System());
}

// Runs `end` until `done`, as the loop in fabric.h does.
template <typename Done>
void RunUntil(Endpoint* end, bool sleeps, const Done& done) {
  const absl::Time limit = absl::Now() + kHang;
  while (!done()) {
    ASSERT_LT(absl::Now(), limit) << "hang";
    if (end->Step() || !sleeps || !end->channel->Arm()) continue;
    const absl::Duration wait =
        std::min(end->channel->NextDeadline() - Clock::System()->Now(),
                 absl::Seconds(1));
    pollfd p = {end->channel->fd(), POLLIN, 0};
    poll(&p, 1, static_cast<int>(absl::ToInt64Milliseconds(wait)) + 1);
  }
}

class TcpTest : public ::testing::TestWithParam<Setting> {};

INSTANTIATE_TEST_SUITE_P(
    All, TcpTest,
    ::testing::Values(Setting{"127.0.0.1", SoftiwarpOptions::Crc::kAuto, true},
                      Setting{"127.0.0.1", SoftiwarpOptions::Crc::kOn, true},
                      Setting{"127.0.0.1", SoftiwarpOptions::Crc::kOff, false},
                      Setting{"::1", SoftiwarpOptions::Crc::kOn, true},
                      Setting{"::1", SoftiwarpOptions::Crc::kOff, true}));

// The server echoes each received length-8 request by writing `size` bytes
// into the client and an immediate behind them.
TEST_P(TcpTest, RequestsAreAnsweredUntilDisconnect) {
  constexpr int kRounds = 200;
  constexpr uint32_t kSize = 150000;
  auto fabric = NewTcpFabric(GetParam().crc);
  auto server_fabric = NewTcpFabric(GetParam().crc);
  Endpoint server(server_fabric.get());
  auto listener =
      *server.channel->Listen(*SocketAddress::Parse(GetParam().address, 0), 16);
  const SocketAddress address = listener->local_address();
  ASSERT_NE(address.port(), 0);
  const bool sleeps = GetParam().sleeps;

  std::thread thread([&] {
    RunUntil(&server, sleeps, [&] { return !server.events.empty(); });
    ASSERT_EQ(server.events[0].type, CmEvent::Type::kConnectRequest);
    auto qp = server.NewQp();
    Bytes inbox(64 * 16);
    auto inbox_mr = server.Register(&inbox);
    Bytes data = Counting(kSize);
    auto data_mr = server.Register(&data, 0);
    for (uint64_t i = 0; i < 64; ++i) {
      const RecvWr recv = {i, &inbox[i * 16], 16, inbox_mr->lkey()};
      ASSERT_TRUE(qp->PostRecv({&recv, 1}).ok());
    }
    ASSERT_TRUE(qp->Accept(std::move(server.events[0].request), {}).ok());
    server.events.clear();
    RunUntil(&server, sleeps, [&] {
      for (const WorkCompletion& wc : server.completions) {
        if (wc.status != WcStatus::kSuccess || wc.opcode != WcOpcode::kRecv) {
          continue;
        }
        uint8_t* message = &inbox[wc.wr_id * 16];
        SendWr wr;
        wr.opcode = WrOpcode::kRdmaWriteWithImm;
        wr.flags = kSignaled;
        memcpy(&wr.remote_address, message, 8);
        memcpy(&wr.rkey, message + 8, 4);
        memcpy(&wr.imm, message + 12, 4);
        const Sge sge = {data.data(), kSize, data_mr->lkey()};
        wr.sg_list = {&sge, 1};
        const RecvWr recv = {wc.wr_id, message, 16, inbox_mr->lkey()};
        EXPECT_TRUE(qp->PostRecv({&recv, 1}).ok());
        EXPECT_TRUE(qp->PostSend({&wr, 1}, Doorbell::kDeferred).ok());
      }
      server.completions.clear();
      return server.Count(CmEvent::Type::kDisconnected) > 0;
    });
    EXPECT_EQ(ErrnoOf(server.events.back().status), ECONNRESET);
    qp->Disconnect();
  });

  Endpoint client(fabric.get());
  auto qp = client.NewQp();
  Bytes target(4 * kSize);
  auto target_mr = client.Register(&target);
  ASSERT_TRUE(qp->Connect(PathTo(address), {}, absl::Seconds(30)).ok());
  RunUntil(&client, sleeps, [&] { return !client.events.empty(); });
  ASSERT_EQ(client.events[0].type, CmEvent::Type::kEstablished);
  EXPECT_EQ(qp->peer_address(), address);
  EXPECT_NE(qp->local_address().port(), 0);
  int sent = 0;
  int received = 0;
  while (received < kRounds) {
    for (; sent < kRounds && sent - received < 4; ++sent) {
      const RecvWr recv = {1, nullptr, 0, 0};
      ASSERT_TRUE(qp->PostRecv({&recv, 1}).ok());
      uint8_t message[16];
      const uint64_t to =
          target_mr->remote_address() + static_cast<uint64_t>(sent % 4) * kSize;
      const uint32_t rkey = target_mr->rkey();
      memcpy(message, &to, 8);
      memcpy(message + 8, &rkey, 4);
      memcpy(message + 12, &sent, 4);
      const Sge sge = {message, 16, 0};
      SendWr wr;
      wr.opcode = WrOpcode::kSend;
      wr.flags = kInline | kSignaled;
      wr.sg_list = {&sge, 1};
      ASSERT_TRUE(qp->PostSend({&wr, 1}, Doorbell::kNow).ok());
    }
    RunUntil(&client, sleeps, [&] { return !client.completions.empty(); });
    for (const WorkCompletion& wc : client.completions) {
      ASSERT_EQ(wc.status, WcStatus::kSuccess);
      if (wc.opcode != WcOpcode::kRecvRdmaWithImm) continue;
      ASSERT_EQ(wc.imm, static_cast<uint32_t>(received));
      ASSERT_EQ(wc.byte_len, kSize);
      uint8_t* at = &target[static_cast<size_t>(received % 4) * kSize];
      ASSERT_TRUE(std::equal(at, at + kSize, Counting(kSize).begin()));
      memset(at, 0, kSize);
      ++received;
    }
    client.completions.clear();
  }
  qp->Disconnect();
  RunUntil(&client, sleeps,
           [&] { return client.Count(CmEvent::Type::kDisconnected) > 0; });
  EXPECT_EQ(qp->state(), QueuePair::State::kClosed);
  thread.join();
}

TEST(TcpConnectTest, NothingListeningIsAConnectError) {
  auto fabric = NewTcpFabric(SoftiwarpOptions::Crc::kAuto);
  Endpoint client(fabric.get());
  SocketAddress address;
  {
    // A port that was free a moment ago.
    auto listener =
        *client.channel->Listen(*SocketAddress::Parse("127.0.0.1", 0), 1);
    address = listener->local_address();
  }
  auto qp = client.NewQp();
  ASSERT_TRUE(qp->Connect(PathTo(address), {}, absl::Seconds(30)).ok());
  RunUntil(&client, true, [&] { return !client.events.empty(); });
  EXPECT_EQ(client.events[0].type, CmEvent::Type::kConnectError);
  EXPECT_EQ(ErrnoOf(client.events[0].status), ECONNREFUSED);
  EXPECT_NE(
      std::string(client.events[0].status.message()).find(address.ToString()),
      std::string::npos);
}

TEST(TcpConnectTest, SourceAddressIsBound) {
  auto fabric = NewTcpFabric(SoftiwarpOptions::Crc::kAuto);
  Endpoint end(fabric.get());
  auto listener =
      *end.channel->Listen(*SocketAddress::Parse("127.0.0.1", 0), 1);
  PathSpec path = PathTo(listener->local_address());
  path.source.kind = PathEnd::Kind::kIp;
  path.source.ip = *SocketAddress::Parse("127.0.0.2", 0);
  auto qp = end.NewQp();
  ASSERT_TRUE(qp->Connect(path, Counting(56), absl::Seconds(30)).ok());
  RunUntil(&end, true, [&] { return !end.events.empty(); });
  ASSERT_EQ(end.events[0].type, CmEvent::Type::kConnectRequest);
  EXPECT_EQ(end.events[0].request->peer_address().HostString(), "127.0.0.2");
  EXPECT_EQ(Bytes(end.events[0].request->private_data().begin(),
                  end.events[0].request->private_data().end()),
            Counting(56));
}

// The request is accepted by a queue pair of another channel in another
// thread.
TEST(TcpConnectTest, RequestMovesToAnotherThread) {
  auto fabric = NewTcpFabric(SoftiwarpOptions::Crc::kOn);
  Endpoint listening(fabric.get());
  auto listener =
      *listening.channel->Listen(*SocketAddress::Parse("127.0.0.1", 0), 1);
  Endpoint client(fabric.get());
  auto qp = client.NewQp();
  ASSERT_TRUE(qp->Connect(PathTo(listener->local_address()), {}, kHang).ok());
  auto rejected = client.NewQp();
  ASSERT_TRUE(
      rejected->Connect(PathTo(listener->local_address()), {}, kHang).ok());
  std::thread client_thread([&] {
    RunUntil(&client, true, [&] { return client.events.size() >= 2; });
  });
  RunUntil(&listening, true, [&] { return listening.events.size() == 2; });
  std::promise<void> done;
  std::thread worker(
      [&, request = std::move(listening.events[0].request),
       other = std::move(listening.events[1].request)]() mutable {
        Endpoint end(fabric.get());
        auto accepted = end.NewQp();
        ASSERT_TRUE(accepted->Accept(std::move(request), {}).ok());
        RunUntil(&end, true,
                 [&] { return end.Count(CmEvent::Type::kEstablished) == 1; });
        const Bytes reason = Counting(4);
        other->Reject(reason);
        other.reset();
        done.get_future().wait_for(absl::ToChronoSeconds(kHang));
      });
  // The listener's channel carries out the rejection.
  std::atomic<bool> stop{false};
  std::thread listening_thread(
      [&] { RunUntil(&listening, true, [&] { return stop.load(); }); });
  client_thread.join();
  EXPECT_EQ(client.Count(CmEvent::Type::kEstablished), 1);
  EXPECT_EQ(client.Count(CmEvent::Type::kRejected), 1);
  for (const CmEvent& event : client.events) {
    if (event.type == CmEvent::Type::kRejected) {
      EXPECT_EQ(event.private_data, Counting(4));
    }
  }
  stop = true;
  listening_thread.join();
  done.set_value();
  worker.join();
}

}  // namespace
}  // namespace rtrs::fabric
