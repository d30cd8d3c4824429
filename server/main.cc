// rnbd-server: serves block devices and disk images over RNBD.
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "rtrs/base/log.h"
#include "server/daemon.h"
#include "server/daemon_options.h"
#include "server/version.h"

namespace rnbd::server {
namespace {

constexpr int kFailure = 1;
// For sessions to end in order after a signal.
constexpr absl::Duration kShutdownLimit = absl::Seconds(30);
constexpr absl::Duration kShutdownReport = absl::Seconds(5);
constexpr absl::Duration kSizeInterval = absl::Seconds(2);

void SetUpLog(spdlog::level::level_enum level) {
  auto logger = std::make_shared<spdlog::logger>(
      "rnbd-server", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(level);
  logger->flush_on(spdlog::level::trace);
  // The journal adds the time itself.
  if (std::getenv("JOURNAL_STREAM") != nullptr) {
    logger->set_pattern("%l: %v");
  } else {
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
  }
  spdlog::set_default_logger(std::move(logger));
}

// Connections and disks need descriptors.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    RTRS_LOG(warn, "the limit of open files stays at {}", limit.rlim_cur);
  }
}

// Blocks the signals that end the program in all threads, from here on, and
// returns a descriptor that they come out of.
int CatchSignals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return signalfd(-1, &set, SFD_CLOEXEC);
}

const char* NextSignal(int fd) {
  signalfd_siginfo info{};
  if (read(fd, &info, sizeof(info)) != sizeof(info)) return "a signal";
  return info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM";
}

// Serves until a signal comes, and returns its name.
const char* Serve(const Daemon& daemon, int signals) {
  pollfd fd{signals, POLLIN, 0};
  while (poll(&fd, 1,
              static_cast<int>(absl::ToInt64Milliseconds(kSizeInterval))) <=
         0) {
    daemon.LookAtSizes();
  }
  return NextSignal(signals);
}

// Closes all sessions; returns the exit code.
int Shutdown(Daemon* daemon, int signals) {
  daemon->BeginShutdown();
  const absl::Time start = absl::Now();
  pollfd fds[] = {{daemon->shutdown_fd(), POLLIN, 0}, {signals, POLLIN, 0}};
  while (fds[0].revents == 0) {
    poll(fds, 2, static_cast<int>(absl::ToInt64Milliseconds(kShutdownReport)));
    if (fds[1].revents != 0) {
      RTRS_LOG(warn, "{} again: leaving at once", NextSignal(signals));
      _exit(kFailure);
    }
    if (fds[0].revents != 0) break;
    const absl::Duration waited = absl::Now() - start;
    RTRS_LOG(warn, "waiting for {} sessions to end, for {} s of {} s now",
             daemon->stats().sessions, absl::ToInt64Seconds(waited),
             absl::ToInt64Seconds(kShutdownLimit));
    if (waited >= kShutdownLimit) {
      // Storage may still be using memory: nothing can be freed.
      RTRS_LOG(err, "{} sessions do not end: leaving without them",
               daemon->stats().sessions);
      _exit(kFailure);
    }
  }
  daemon->Finish();
  RTRS_LOG(info, "all sessions closed");
  return 0;
}

int Run(const DaemonOptions& options) {
  SetUpLog(options.log_level);
  RaiseDescriptorLimit();
  const int signals = CatchSignals();
  Daemon daemon(options);
  if (const absl::Status status = daemon.Start(); !status.ok()) {
    RTRS_LOG(critical, "{}", status);
    return kFailure;
  }
  // For scripts, which read it to learn the port.
  const std::string fabrics = daemon.FabricNames();
  for (const rtrs::SocketAddress& address : daemon.addresses()) {
    std::printf("listening on %s (%s)\n", address.ToString().c_str(),
                fabrics.c_str());
  }
  std::fflush(stdout);
  RTRS_LOG(info, "rnbd-server {} serves {} with {} workers", kVersion,
           options.dev_search_path, daemon.workers());
  sd_notifyf(0, "READY=1\nSTATUS=Serving %s", options.dev_search_path.c_str());
  const char* name = Serve(daemon, signals);
  RTRS_LOG(info, "{}: closing {} sessions", name, daemon.stats().sessions);
  sd_notify(0, "STOPPING=1\nSTATUS=Closing sessions");
  return Shutdown(&daemon, signals);
}

}  // namespace
}  // namespace rnbd::server

int main(int argc, char** argv) {
  auto parsed = rnbd::server::ParseCommandLine(argc, argv);
  if (const auto* code = std::get_if<rnbd::server::ExitCode>(&parsed)) {
    return code->value;
  }
  return rnbd::server::Run(std::get<rnbd::server::DaemonOptions>(parsed));
}
