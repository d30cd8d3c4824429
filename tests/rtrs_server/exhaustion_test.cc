// A server that runs out of descriptors or memory refuses, in order, and serves
// on.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rtrs/fabric/softiwarp/softiwarp.h"
#include "rtrs/fabric/softiwarp/tcp_transport.h"
#include "tests/rtrs_server/harness.h"

namespace rtrs::server {
namespace {

class ExhaustionTest : public ServerTest {};

TEST_F(ExhaustionTest, NoMemoryForAQueuePairIsRefused) {
  Start();
  auto client = Connected("a");
  const uint32_t enough = fabric.limits.max_qp_wr;
  fabric.limits.max_qp_wr = 4;  // what a device says that has no room
  EXPECT_EQ(Client()->Connect(0).error, ENOMEM);
  Settle();
  EXPECT_EQ(server->stats().sessions, 1u);
  EXPECT_EQ(server->stats().connections, 2u);
  fabric.limits.max_qp_wr = enough;
  ExpectServes(client.get());
  ExpectServes(Connected("b").get());
}

TEST_F(ExhaustionTest, NoMemoryForRegistrationIsRefused) {
  Start();
  auto client = Connected("a");
  auto late = Client();
  fabric.no_memory = true;
  EXPECT_EQ(late->Connect(0).error, ENOMEM);
  Settle();
  EXPECT_EQ(server->stats().sessions, 1u);
  EXPECT_EQ(server->stats().chunk_bytes,
            options.sess_queue_depth * options.max_chunk_size);
  fabric.no_memory = false;
  ExpectServes(client.get());
  EXPECT_TRUE(late->Establish(2, "b"));
}

// No descriptor can be opened while one of these lives.
class NoDescriptors {
 public:
  NoDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    const int lowest = fcntl(0, F_DUPFD, 0);
    close(lowest);
    rlimit none = before_;
    none.rlim_cur = static_cast<rlim_t>(lowest);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST(DescriptorTest, AServerWithoutDescriptorsDoesNotSpin) {
  ManualClock clock;
  auto fabric = fabric::NewSoftiwarp({}, fabric::SystemTcpTransport(), &clock,
                                     Random::System());
  FakeHandler handler;
  ServerOptions options;
  options.sess_queue_depth = 8;
  options.max_chunk_size = 8192;
  auto server = *Server::Create({fabric.get()}, &clock, Random::System(),
                                options, &handler);
  const SocketAddress address =
      *server->Listen(*SocketAddress::Parse("127.0.0.1", 0));
  Worker* worker = server->worker(0);
  while (worker->Progress()) {
  }
  const auto serve = [&](fabric::EventChannel*) {
    worker->Progress();
    return true;
  };
  RawClient early(fabric.get(), address, serve);
  ASSERT_TRUE(early.Establish(2, "early"));
  while (worker->Progress()) {
  }
  // The kernel completes the connect; accepting it needs a descriptor.
  const int waiting = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(connect(waiting, address.addr(), address.length()), 0);
  {
    NoDescriptors none;
    for (int i = 0; i < 10; ++i) worker->Progress();
    // It can sleep: nothing is readable, and it wakes by a timer.
    EXPECT_FALSE(worker->Progress());
    EXPECT_TRUE(worker->Arm());
    pollfd poll_fd = {worker->fd(), POLLIN, 0};
    EXPECT_EQ(poll(&poll_fd, 1, 0), 0);
    EXPECT_GT(worker->NextDeadline(), clock.Now());
    EXPECT_LT(worker->NextDeadline(), clock.Now() + absl::Minutes(1));
  }
  clock.Advance(worker->NextDeadline() - clock.Now());
  EXPECT_TRUE(worker->Progress());
  close(waiting);
  // It accepts again, and nobody was sent away.
  EXPECT_EQ(server->stats().sessions, 1u);
  RawClient late(fabric.get(), address, serve);
  EXPECT_TRUE(late.Establish(2, "late"));
}

}  // namespace
}  // namespace rtrs::server
