#include "server/daemon.h"

#include <errno.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/random.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/wire/capabilities.h"
#include "server/fabric_choice.h"
#include "server/io_priority.h"

namespace rnbd::server {
namespace {

// Threads that open and close devices: a disk that hangs must not keep others
// from being opened.
constexpr int kControlThreads = 4;

}  // namespace

Daemon::Daemon(const DaemonOptions& options)
    : options_(options),
      losses_(LossRecord::DefaultDirectory()),
      paths_(options.dev_search_path),
      registry_(VerifierSecret(losses_), &losses_),
      opener_(&paths_, &registry_, options.io, "/sys") {}

Daemon::~Daemon() { Finish(); }

absl::Status Daemon::Start() {
  RTRS_ASSIGN_OR_RETURN(shutdown_, rtrs::EventFd::Create());
  RTRS_ASSIGN_OR_RETURN(fabrics_, MakeFabrics(options_.fabric, options_.crc));
  // What nobody asked for by name must not keep the rest from serving.
  if (options_.fabric == FabricChoice::kAuto) DropUnfitFabrics();
  rtrs::server::ServerOptions server = options_.server;
  if (!options_.workers_given) {
    server.workers = DefaultWorkers(
        std::thread::hardware_concurrency(),
        std::any_of(fabrics_.begin(), fabrics_.end(), [](const auto& fabric) {
          return fabric->device().rdma_device;
        }));
  }
  RTRS_ASSIGN_OR_RETURN(
      engines_, StorageEngines::Create(options_.io_engine,
                                       static_cast<int>(server.workers)));
  control_ = std::make_unique<BlockingPool>("rnbd-control", kControlThreads);

  SessionServices services;
  services.opener = &opener_;
  services.control = [this](std::function<void()> task) {
    control_->Run(std::move(task));
  };
  services.realtime_priority = MayUseRealtimePriority();
  handler_ = std::make_unique<RnbdHandler>(std::move(services));

  std::vector<rtrs::fabric::Fabric*> fabrics;
  for (const auto& fabric : fabrics_) fabrics.push_back(fabric.get());
  using rtrs::wire::Capabilities;
  server.capabilities.bits |=
      Capabilities::kFence | Capabilities::kWriteVerifier |
      Capabilities::kWriteZeroes | Capabilities::kNotice;
  RTRS_ASSIGN_OR_RETURN(server_,
                        rtrs::server::Server::Create(
                            std::move(fabrics), rtrs::Clock::System(),
                            rtrs::Random::System(), server, handler_.get()));
  handler_->services().workers = engines_->Attach(server_.get());
  RTRS_RETURN_IF_ERROR(Listen());
  for (int i = 0; i < server_->worker_count(); ++i) {
    threads_.push_back(
        std::make_unique<rtrs::server::WorkerThread>(server_->worker(i)));
  }
  return absl::OkStatus();
}

absl::StatusOr<rtrs::SocketAddress> Daemon::ListenOn(
    const rtrs::SocketAddress& address) {
  absl::StatusOr<rtrs::SocketAddress> bound = server_->Listen(address);
  if (bound.ok()) return bound;
  return rtrs::Annotate(bound.status(),
                        absl::StrCat("cannot listen on ", address.ToString(),
                                     " (--listen, --port_nr)"));
}

absl::Status Daemon::Listen() {
  absl::Status refused;
  uint16_t port = options_.listen[0].port();
  for (rtrs::SocketAddress address : options_.listen) {
    // A free port that was found holds for all addresses.
    if (port != 0) address.set_port(port);
    const absl::StatusOr<rtrs::SocketAddress> bound = ListenOn(address);
    if (bound.ok()) {
      port = bound->port();
      addresses_.push_back(*bound);
      continue;
    }
    // Without --listen, a machine may lack one of the two loopbacks.
    const int error = rtrs::ErrnoOf(bound.status());
    if (options_.listen_given ||
        (error != EADDRNOTAVAIL && error != EAFNOSUPPORT)) {
      return bound.status();
    }
    RTRS_LOG(info, "{}", bound.status());
    refused = bound.status();
  }
  return addresses_.empty() ? refused : absl::OkStatus();
}

void Daemon::DropUnfitFabrics() {
  for (auto it = fabrics_.begin();
       it != fabrics_.end() && fabrics_.size() > 1;) {
    const absl::Status fit =
        rtrs::server::CheckDevice(options_.server, (*it)->device());
    if (fit.ok()) {
      ++it;
    } else {
      RTRS_LOG(warn, "not serving over {}: {}", (*it)->device().name, fit);
      it = fabrics_.erase(it);
    }
  }
}

std::string Daemon::FabricNames() const {
  return absl::StrJoin(fabrics_, ", ",
                       [](std::string* out, const auto& fabric) {
                         absl::StrAppend(out, fabric->device().name);
                       });
}

void Daemon::BeginShutdown() {
  server_->Shutdown([this] { shutdown_.Raise(); });
}

void Daemon::Finish() {
  threads_.clear();
  control_.reset();
  if (engines_ != nullptr) engines_->StopThreads();
  server_.reset();
}

}  // namespace rnbd::server
