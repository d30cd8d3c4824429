// A conversation of two ends in two threads over a real network, of all
// in-process fabrics.
#ifndef TESTS_FABRIC_TWO_THREADS_H_
#define TESTS_FABRIC_TWO_THREADS_H_

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/time/clock.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "tests/fabric/endpoint.h"

namespace rtrs::fabric {

inline constexpr absl::Duration kHang = absl::Seconds(60);

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

// The server on `host` echoes each received request by writing many bytes into
// the client and an immediate behind them, until the client leaves, which it
// sees as `end_error`.
inline void Converse(Fabric* server_fabric, Fabric* client_fabric,
                     const char* host, bool sleeps, int end_error) {
  constexpr int kRounds = 200;
  constexpr uint32_t kSize = 150000;
  Endpoint server(server_fabric);
  auto listener = *server.channel->Listen(*SocketAddress::Parse(host, 0), 16);
  const SocketAddress address = listener->local_address();
  ASSERT_NE(address.port(), 0);

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
    EXPECT_EQ(ErrnoOf(server.events.back().status), end_error);
    qp->Disconnect();
  });

  Endpoint client(client_fabric);
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

}  // namespace rtrs::fabric

#endif  // TESTS_FABRIC_TWO_THREADS_H_
