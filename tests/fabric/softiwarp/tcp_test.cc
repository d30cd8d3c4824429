// Two fabrics in two threads over real TCP, IPv4 and IPv6, spinning and
// sleeping.
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

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
#include "tests/fabric/two_threads.h"

namespace rtrs::fabric {
namespace {

struct Setting {
  const char* address;
  SoftiwarpOptions::Crc crc;
  bool sleeps;  // or spins
};

std::unique_ptr<Fabric> NewTcpFabric(SoftiwarpOptions::Crc crc) {
  return NewSoftiwarp({crc}, SystemTcpTransport(), Clock::System(),
                      Random::System());
}

class TcpTest : public ::testing::TestWithParam<Setting> {};

INSTANTIATE_TEST_SUITE_P(
    All, TcpTest,
    ::testing::Values(Setting{"127.0.0.1", SoftiwarpOptions::Crc::kAuto, true},
                      Setting{"127.0.0.1", SoftiwarpOptions::Crc::kOn, true},
                      Setting{"127.0.0.1", SoftiwarpOptions::Crc::kOff, false},
                      Setting{"::1", SoftiwarpOptions::Crc::kOn, true},
                      Setting{"::1", SoftiwarpOptions::Crc::kOff, true}));

TEST_P(TcpTest, RequestsAreAnsweredUntilDisconnect) {
  auto fabric = NewTcpFabric(GetParam().crc);
  auto server_fabric = NewTcpFabric(GetParam().crc);
  Converse(server_fabric.get(), fabric.get(), GetParam().address,
           GetParam().sleeps, ECONNRESET);
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

// The congestion control of the socket of this process that is connected to
// `peer`; empty if there is none.
std::string CongestionControlTo(const SocketAddress& peer) {
  for (int fd = 0; fd < 1024; ++fd) {
    sockaddr_storage storage{};
    socklen_t length = sizeof(storage);
    auto* sa = reinterpret_cast<sockaddr*>(&storage);
    if (getpeername(fd, sa, &length) != 0) continue;
    const auto found = SocketAddress::FromSockaddr(sa, length);
    if (!found.ok() || !(*found == peer)) continue;
    std::array<char, 16> name{};
    length = name.size();
    EXPECT_EQ(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &length),
              0);
    return name.data();
  }
  return "";
}

// Whatever the system's default is.
TEST(TcpConnectTest, NothingIsPacedWithinAHost) {
  auto fabric = NewTcpFabric(SoftiwarpOptions::Crc::kAuto);
  Endpoint end(fabric.get());
  auto listener =
      *end.channel->Listen(*SocketAddress::Parse("127.0.0.1", 0), 1);
  auto qp = end.NewQp();
  ASSERT_TRUE(qp->Connect(PathTo(listener->local_address()), Counting(56),
                          absl::Seconds(30))
                  .ok());
  RunUntil(&end, true, [&] { return !end.events.empty(); });
  EXPECT_EQ(CongestionControlTo(listener->local_address()), "reno");
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
