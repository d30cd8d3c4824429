// softiwarp over loopback, for profiling: two threads, a client and a server.
//
//   fabric_pingpong [--sleep] [--crc] [--depth N] [--size BYTES] [--seconds S]
//
// Each request is an RDMA write with immediate of 32 bytes; the answer is an
// RDMA write of BYTES and a write with immediate of 0 bytes, posted as one
// list: the shape of an RTRS read. Prints requests per second and the mean
// time and processor time (both ends) of one.
#include <poll.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/softiwarp/softiwarp.h"
#include "rtrs/fabric/softiwarp/tcp_transport.h"

namespace rtrs::fabric {
namespace {

struct Flags {
  bool sleep = false;
  bool crc = false;
  uint32_t depth = 1;
  uint32_t size = 4096;
  double seconds = 2;
};

constexpr uint32_t kRequestBytes = 32;
constexpr uint32_t kSlotBytes = 64;

// What a thread works with.
struct End {
  explicit End(Fabric* fabric)
      : pd(*fabric->AllocPd()),
        channel(*fabric->CreateEventChannel()),
        cq(*channel->CreateCq(8192)) {}

  std::unique_ptr<QueuePair> NewQp() {
    QueuePairInit init;
    init.pd = pd.get();
    init.cq = cq.get();
    init.max_send_wr = 2048;
    init.max_recv_wr = 1024;
    init.max_inline = 64;
    return *channel->CreateQp(init);
  }

  // Waits for the next connection event.
  CmEvent Next() {
    CmEvent event;
    while (!channel->NextEvent(&event)) channel->Progress();
    return event;
  }
  void Sleep() {
    if (!channel->Arm()) return;
    pollfd p = {channel->fd(), POLLIN, 0};
    poll(&p, 1, 100);
  }

  std::unique_ptr<ProtectionDomain> pd;
  std::unique_ptr<EventChannel> channel;
  std::unique_ptr<CompletionQueue> cq;
};

void PostEmptyReceives(QueuePair* qp, uint32_t count) {
  const std::vector<RecvWr> list(count);
  if (!qp->PostRecv(list).ok()) abort();
}

// Where the client's answers go, told out of band.
struct Shared {
  uint64_t target = 0;
  uint32_t target_rkey = 0;
  uint64_t inbox = 0;
  uint32_t inbox_rkey = 0;
  std::atomic<bool> ready{false};
  std::atomic<bool> stop{false};
};

void Serve(const Flags& flags, End* end, Shared* shared) {
  CmEvent event = end->Next();
  auto qp = end->NewQp();
  std::vector<uint8_t> inbox(flags.depth * kSlotBytes);
  auto inbox_mr =
      *end->pd->RegisterMemory(inbox.data(), inbox.size(), kRemoteWrite);
  std::vector<uint8_t> data(flags.depth * size_t{flags.size}, 0x5a);
  auto data_mr = *end->pd->RegisterMemory(data.data(), data.size(), 0);
  PostEmptyReceives(qp.get(), 1024);
  if (!qp->Accept(std::move(event.request), {}).ok()) abort();
  if (end->Next().type != CmEvent::Type::kEstablished) abort();
  shared->inbox = inbox_mr->remote_address();
  shared->inbox_rkey = inbox_mr->rkey();
  shared->ready = true;
  uint32_t unsignaled = 0;
  while (!shared->stop) {
    const bool busy = end->channel->Progress();
    WorkCompletion wcs[64];
    const int n = end->cq->Poll(absl::MakeSpan(wcs));
    for (int i = 0; i < n; ++i) {
      if (wcs[i].opcode != WcOpcode::kRecvRdmaWithImm) continue;
      PostEmptyReceives(qp.get(), 1);
      const uint32_t slot = wcs[i].imm;
      const Sge sge = {data.data() + slot * size_t{flags.size}, flags.size,
                       data_mr->lkey()};
      SendWr list[2];
      list[0].opcode = WrOpcode::kRdmaWrite;
      list[0].sg_list = {&sge, 1};
      list[0].remote_address = shared->target + slot * uint64_t{flags.size};
      list[0].rkey = shared->target_rkey;
      list[1].opcode = WrOpcode::kRdmaWriteWithImm;
      list[1].imm = slot;
      if (++unsignaled % 64 == 0) list[1].flags = kSignaled;
      if (!qp->PostSend(list, Doorbell::kDeferred).ok()) abort();
    }
    end->channel->Flush();
    if (flags.sleep && !busy && n == 0) end->Sleep();
  }
}

double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return absl::ToDoubleSeconds(absl::DurationFromTimeval(usage.ru_utime) +
                               absl::DurationFromTimeval(usage.ru_stime));
}

int Run(const Flags& flags) {
  const SoftiwarpOptions options{flags.crc ? SoftiwarpOptions::Crc::kOn
                                           : SoftiwarpOptions::Crc::kOff};
  auto fabric = NewSoftiwarp(options, SystemTcpTransport(), Clock::System(),
                             Random::System());
  End server(fabric.get());
  auto listener =
      *server.channel->Listen(*SocketAddress::Parse("127.0.0.1", 0), 1);
  End client(fabric.get());
  Shared shared;
  std::vector<uint8_t> target(flags.depth * size_t{flags.size});
  auto target_mr =
      *client.pd->RegisterMemory(target.data(), target.size(), kRemoteWrite);
  shared.target = target_mr->remote_address();
  shared.target_rkey = target_mr->rkey();
  std::thread thread([&] { Serve(flags, &server, &shared); });

  auto qp = client.NewQp();
  PathSpec path;
  path.destination.kind = PathEnd::Kind::kIp;
  path.destination.ip = listener->local_address();
  if (!qp->Connect(path, {}, absl::Seconds(5)).ok()) abort();
  if (client.Next().type != CmEvent::Type::kEstablished) abort();
  PostEmptyReceives(qp.get(), 1024);
  while (!shared.ready) {
  }

  uint8_t request[kRequestBytes] = {};
  const Sge sge = {request, kRequestBytes, 0};
  uint32_t posted = 0;
  const auto post = [&](uint32_t slot) {
    SendWr wr;
    wr.opcode = WrOpcode::kRdmaWriteWithImm;
    wr.flags =
        static_cast<uint8_t>(kInline | (++posted % 64 == 0 ? kSignaled : 0));
    wr.sg_list = {&sge, 1};
    wr.remote_address = shared.inbox + slot * kSlotBytes;
    wr.rkey = shared.inbox_rkey;
    wr.imm = slot;
    if (!qp->PostSend({&wr, 1}, Doorbell::kDeferred).ok()) abort();
  };
  for (uint32_t slot = 0; slot < flags.depth; ++slot) post(slot);
  client.channel->Flush();
  uint64_t done = 0;
  const double cpu_before = CpuSeconds();
  const absl::Time start = absl::Now();
  const absl::Time end = start + absl::Seconds(flags.seconds);
  absl::Time now = start;
  for (uint64_t round = 0; now < end; ++round) {
    if (round % 256 == 0) now = absl::Now();
    const bool busy = client.channel->Progress();
    WorkCompletion wcs[64];
    const int n = client.cq->Poll(absl::MakeSpan(wcs));
    for (int i = 0; i < n; ++i) {
      if (wcs[i].opcode != WcOpcode::kRecvRdmaWithImm) continue;
      ++done;
      PostEmptyReceives(qp.get(), 1);
      post(wcs[i].imm);
    }
    client.channel->Flush();
    if (flags.sleep && !busy && n == 0) {
      client.Sleep();
      now = absl::Now();
    }
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  const double cpu = CpuSeconds() - cpu_before;
  shared.stop = true;
  thread.join();
  printf(
      "%s crc=%s depth %u size %u: %.0f requests/s, %.2f us each, %.2f us "
      "CPU, %.0f MB/s\n",
      flags.sleep ? "sleep" : "spin", flags.crc ? "on" : "off", flags.depth,
      flags.size, static_cast<double>(done) / seconds,
      seconds * 1e6 * flags.depth / static_cast<double>(done),
      cpu * 1e6 / static_cast<double>(done),
      static_cast<double>(done) * flags.size / seconds / 1e6);
  return 0;
}

}  // namespace
}  // namespace rtrs::fabric

int main(int argc, char** argv) {
  rtrs::fabric::Flags flags;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (flag == "--sleep") {
      flags.sleep = true;
    } else if (flag == "--crc") {
      flags.crc = true;
    } else if (flag == "--depth" && atoi(value) > 0 && atoi(value) <= 512) {
      flags.depth = static_cast<uint32_t>(atoi(value));
      ++i;
    } else if (flag == "--size" && atoi(value) > 0) {
      flags.size = static_cast<uint32_t>(atoi(value));
      ++i;
    } else if (flag == "--seconds" && atof(value) > 0) {
      flags.seconds = atof(value);
      ++i;
    } else {
      fprintf(stderr,
              "usage: %s [--sleep] [--crc] [--depth 1..512] [--size BYTES] "
              "[--seconds S]\n",
              argv[0]);
      return 1;
    }
  }
  return rtrs::fabric::Run(flags);
}
