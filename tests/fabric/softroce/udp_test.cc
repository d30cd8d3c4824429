// Over real UDP on loopback, in two threads, spinning and sleeping: hosts of
// their own as in two processes, or one host whose threads poll for each other.
#include <errno.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rtrs/fabric/softroce/host.h"
#include "rtrs/fabric/softroce/softroce.h"
#include "rtrs/fabric/softroce/udp_transport.h"
#include "tests/fabric/two_threads.h"

namespace rtrs::softroce {
namespace {

using fabric::CmEvent;
using fabric::Endpoint;

struct Setting {
  const char* address;
  bool shared;  // one host for both
  bool sleeps;  // or spins
};

class UdpTest : public ::testing::TestWithParam<Setting> {};

// Addresses that nothing else uses, one per setting.
INSTANTIATE_TEST_SUITE_P(All, UdpTest,
                         ::testing::Values(Setting{"127.19.1.1", false, true},
                                           Setting{"127.19.1.2", false, false},
                                           Setting{"127.19.1.3", true, true},
                                           Setting{"127.19.1.4", true, false},
                                           Setting{"::1", true, true}));

TEST_P(UdpTest, RequestsAreAnsweredUntilDisconnect) {
  const auto address = *SocketAddress::Parse(GetParam().address, 0);
  if (const auto probe = SystemUdpTransport()->Open(address); !probe.ok()) {
    GTEST_SKIP() << probe.status();
  }
  Host first(SystemUdpTransport(), Clock::System(), Random::System());
  Host second(SystemUdpTransport(), Clock::System(), Random::System());
  auto server = NewSoftroce({}, &first);
  auto client = NewSoftroce({}, GetParam().shared ? &first : &second);
  fabric::Converse(server.get(), client.get(), GetParam().address,
                   GetParam().sleeps, ESHUTDOWN);
}

// Kernels and NICs send them so.
TEST(UdpSocketTest, TakesIpv6PacketsWithoutUdpChecksum) {
  auto socket = SystemUdpTransport()->Open(*SocketAddress::Parse("::1", 0));
  if (!socket.ok()) GTEST_SKIP() << socket.status();
  const int sender = ::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ASSERT_GE(sender, 0);
  const int on = 1;
  ASSERT_EQ(setsockopt(sender, SOL_UDP, UDP_NO_CHECK6_TX, &on, sizeof(on)), 0);
  const SocketAddress& to = (*socket)->local_address();
  ASSERT_EQ(sendto(sender, "packet", 6, 0, to.addr(), to.length()), 6);
  close(sender);
  pollfd waiting = {(*socket)->fd(), POLLIN, 0};
  ASSERT_EQ(poll(&waiting, 1, 60000), 1);
  TrainIn trains[4];
  ASSERT_EQ((*socket)->Receive(trains), 1);
  EXPECT_EQ(trains[0].bytes.size(), 6U);
  EXPECT_EQ(trains[0].segment, 6U);
}

TEST(UdpConnectTest, NobodyOnTheHostIsAConnectError) {
  Host host(SystemUdpTransport(), Clock::System(), Random::System());
  auto softroce = NewSoftroce({}, &host);
  Endpoint client(softroce.get());
  auto qp = client.NewQp();
  ASSERT_TRUE(
      qp->Connect(fabric::PathTo(*SocketAddress::Parse("127.19.2.1", 1234)), {},
                  absl::Seconds(30))
          .ok());
  fabric::RunUntil(&client, true, [&] { return !client.events.empty(); });
  EXPECT_EQ(client.events[0].type, CmEvent::Type::kConnectError);
  EXPECT_EQ(ErrnoOf(client.events[0].status), ECONNREFUSED);
}

}  // namespace
}  // namespace rtrs::softroce
