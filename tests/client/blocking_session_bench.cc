// How fast blocking calls are, without disk, RNBD and NBD: a child process
// serves reads and writes from memory over softiwarp on loopback, and threads
// here call Run one request at a time, as nbdkit's do.
//
//   client_blocking_session_bench THREADS SECONDS [SIZE [read|write [CONNS]]]
//
// Prints requests per second, the mean latency, and what each side spent per
// request: CPU time and voluntary context switches (sleeps).
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/client/blocking_session.h"
#include "rtrs/fabric/softiwarp/softiwarp.h"
#include "rtrs/fabric/softiwarp/tcp_transport.h"
#include "rtrs/server/server.h"
#include "rtrs/server/worker_thread.h"

namespace rtrs {
namespace {

std::unique_ptr<fabric::Fabric> Softiwarp() {
  return fabric::NewSoftiwarp({}, fabric::SystemTcpTransport(), Clock::System(),
                              Random::System());
}

class MemoryHandler : public server::Handler {
 public:
  absl::Status OnSessionUp(server::Session* /*session*/) override {
    return absl::OkStatus();
  }
  void OnSessionDown(server::Session* /*session*/) override {}
  void OnRequest(server::Request* request) override { request->Complete(0); }
};

// Serves until it is killed; writes its port to `port_fd`.
int Serve(int port_fd) {
  auto fabric = Softiwarp();
  MemoryHandler handler;
  server::ServerOptions options;
  auto server = server::Server::Create({fabric.get()}, Clock::System(),
                                       Random::System(), options, &handler);
  if (!server.ok()) return 1;
  auto address = (*server)->Listen(*SocketAddress::Parse("127.0.0.1", 0));
  if (!address.ok()) return 1;
  const uint16_t port = address->port();
  server::WorkerThread worker((*server)->worker(0));
  if (write(port_fd, &port, sizeof(port)) != sizeof(port)) return 1;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  int signal;
  sigwait(&set, &signal);
  // Nothing is to be closed in order: the client is gone.
  _exit(0);
}

double CpuUs(const rusage& usage) {
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) *
             1e6 +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

int Main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: %s THREADS SECONDS [SIZE [read|write [CONNS]]]\n",
            argv[0]);
    return 2;
  }
  const int threads = atoi(argv[1]);
  const double seconds = atof(argv[2]);
  const auto size = static_cast<uint32_t>(argc > 3 ? atoi(argv[3]) : 4096);
  const bool write = argc > 4 && strcmp(argv[4], "write") == 0;
  const auto conns = static_cast<uint32_t>(argc > 5 ? atoi(argv[5]) : 1);

  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  spdlog::set_level(spdlog::level::warn);
  int pipe_fds[2];
  if (pipe(pipe_fds) != 0) return 1;
  const pid_t child = fork();
  if (child == 0) _exit(Serve(pipe_fds[1]));
  uint16_t port = 0;
  if (read(pipe_fds[0], &port, sizeof(port)) != sizeof(port)) return 1;

  auto fabric = Softiwarp();
  client::SessionOptions options;
  options.sessname = "bench";
  options.io_connections = conns;
  options.paths.push_back(*ParsePathSpec("ip:127.0.0.1", port));
  auto session = client::BlockingSession::Open(fabric.get(), options);
  if (!session.ok()) {
    fprintf(stderr, "%s\n", session.status().ToString().c_str());
    return 1;
  }
  std::atomic<uint64_t> total{0};
  std::atomic<bool> stop{false};
  std::vector<std::thread> workers;
  rusage before;
  getrusage(RUSAGE_SELF, &before);
  const absl::Time start = Clock::System()->Now();
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      std::vector<uint8_t> data(size);
      const uint8_t message[32] = {};
      uint64_t count = 0;
      while (!stop.load(std::memory_order_relaxed)) {
        client::Request request;
        request.direction =
            write ? client::Direction::kWrite : client::Direction::kRead;
        request.affinity = static_cast<uint32_t>(t);
        request.user_message = message;
        request.data = data.data();
        request.data_len = size;
        client::Request* const list[] = {&request};
        (*session)->Run(list, Clock::System()->Now() + absl::Seconds(60));
        if (request.error != 0) {
          fprintf(stderr, "errno %d\n", request.error);
          exit(1);
        }
        ++count;
      }
      total += count;
    });
  }
  absl::SleepFor(absl::Seconds(seconds));
  stop = true;
  for (std::thread& worker : workers) worker.join();
  const double took = absl::ToDoubleSeconds(Clock::System()->Now() - start);
  rusage after;
  getrusage(RUSAGE_SELF, &after);
  session->reset();
  kill(child, SIGTERM);
  rusage served;
  int status;
  wait4(child, &status, 0, &served);
  const auto n = static_cast<double>(total.load());
  printf(
      "%d threads, %u bytes %s: %.0f/s, %.1f us; per request client %.1f us "
      "cpu %.2f sleeps, server %.1f us cpu %.2f sleeps\n",
      threads, size, write ? "write" : "read", n / took,
      took * 1e6 * threads / n, (CpuUs(after) - CpuUs(before)) / n,
      static_cast<double>(after.ru_nvcsw - before.ru_nvcsw) / n,
      CpuUs(served) / n, static_cast<double>(served.ru_nvcsw) / n);
  return 0;
}

}  // namespace
}  // namespace rtrs

int main(int argc, char** argv) { return rtrs::Main(argc, argv); }
