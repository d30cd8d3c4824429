// Every operation once or more over loopback TCP with CRCs, for a capture to
// look at: tshark_test.py. Prints its port, waits for a line on stdin, runs,
// and exits 0 if all completed.
#include <cstdio>
#include <cstdlib>

#include "absl/time/clock.h"
#include "rtrs/fabric/softiwarp/tcp_transport.h"
#include "tests/fabric/softiwarp/harness.h"

namespace rtrs::fabric {
namespace {

constexpr uint32_t kLarge = 300000;

void Require(bool ok, const char* what) {
  if (ok) return;
  fprintf(stderr, "traffic: %s failed\n", what);
  exit(1);
}

template <typename Done>
void StepUntil(Endpoint* a, Endpoint* b, const char* what, const Done& done) {
  const absl::Time limit = absl::Now() + absl::Seconds(30);
  while (!done()) {
    a->Step();
    b->Step();
    Require(absl::Now() < limit, what);
  }
}

// Posts each kind of work request at `from`, for `to` to receive.
void Exercise(Endpoint* from, QueuePair* from_qp, Endpoint* to,
              QueuePair* to_qp) {
  Bytes source = Counting(kLarge);
  Bytes target(kLarge);
  Bytes victim(64);
  auto source_mr = from->Register(&source, 0);
  auto target_mr = to->Register(&target);
  auto victim_mr = to->Register(&victim);
  const RecvWr recv = {0, target.data(), kLarge, target_mr->lkey()};
  const std::vector<RecvWr> recvs(16, recv);
  Require(to_qp->PostRecv(recvs).ok(), "receives");
  const size_t before = to->completions.size();
  size_t expected = before;
  for (uint32_t length : {0U, 1U, 5U, 4096U, kLarge}) {
    for (WrOpcode opcode :
         {WrOpcode::kSend, WrOpcode::kRdmaWrite, WrOpcode::kRdmaWriteWithImm,
          WrOpcode::kSendWithImm}) {
      if (length == kLarge && opcode == WrOpcode::kSendWithImm) continue;
      const Sge sge = {source.data(), length, source_mr->lkey()};
      SendWr wr;
      wr.opcode = opcode;
      wr.flags = length == 5 ? kSignaled | kSolicited : kSignaled;
      wr.sg_list = {&sge, 1};
      wr.imm = 0x20000005;
      wr.rkey = target_mr->rkey();
      wr.remote_address = target_mr->remote_address();
      Require(from_qp->PostSend({&wr, 1}, Doorbell::kDeferred).ok(), "send");
      expected += opcode != WrOpcode::kRdmaWrite;
    }
  }
  SendWr wr;
  wr.opcode = WrOpcode::kSendWithInv;
  wr.invalidate_rkey = victim_mr->rkey();
  Require(from_qp->PostSend({&wr, 1}, Doorbell::kDeferred).ok(), "invalidate");
  ++expected;
  StepUntil(from, to, "exchange",
            [&] { return to->completions.size() >= expected; });
  for (size_t i = before; i < expected; ++i) {
    Require(to->completions[i].status == WcStatus::kSuccess, "completion");
  }
  Require(target == source, "data");
}

int Main() {
  auto fabric = NewSoftiwarp({SoftiwarpOptions::Crc::kOn}, SystemTcpTransport(),
                             Clock::System(), Random::System());
  Endpoint client(fabric.get());
  Endpoint server(fabric.get());
  auto listener =
      *server.channel->Listen(*SocketAddress::Parse("127.0.0.1", 0), 1);
  printf("%u\n", listener->local_address().port());
  fflush(stdout);
  if (getchar() == EOF) return 1;
  auto client_qp = client.NewQp();
  auto server_qp = server.NewQp();
  Require(client_qp
              ->Connect(PathTo(listener->local_address()), Counting(56),
                        absl::Seconds(30))
              .ok(),
          "connect");
  StepUntil(&client, &server, "request",
            [&] { return !server.events.empty(); });
  Require(
      server_qp->Accept(std::move(server.events[0].request), Counting(56)).ok(),
      "accept");
  StepUntil(&client, &server, "set-up", [&] {
    return client.Count(CmEvent::Type::kEstablished) +
               server.Count(CmEvent::Type::kEstablished) ==
           2;
  });
  Exercise(&client, client_qp.get(), &server, server_qp.get());
  Exercise(&server, server_qp.get(), &client, client_qp.get());
  // The end is a Terminate: the client writes where it must not.
  Bytes bytes(8);
  auto mr = client.Register(&bytes, 0);
  const Sge sge = {bytes.data(), 8, mr->lkey()};
  SendWr wr;
  wr.opcode = WrOpcode::kRdmaWrite;
  wr.sg_list = {&sge, 1};
  wr.rkey = 0x12345678;
  Require(client_qp->PostSend({&wr, 1}, Doorbell::kNow).ok(), "bad write");
  StepUntil(&client, &server, "end", [&] {
    return client.Count(CmEvent::Type::kDisconnected) +
               server.Count(CmEvent::Type::kDisconnected) ==
           2;
  });
  return 0;
}

}  // namespace
}  // namespace rtrs::fabric

int main() { return rtrs::fabric::Main(); }
