#include "rtrs/server/server.h"

#include <errno.h>

#include <utility>

#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/server/control.h"
#include "rtrs/server/worker.h"

namespace rtrs::server {
namespace {

constexpr int kBacklog = 64;

class ServerImpl final : public Server {
 public:
  ServerImpl(ServerOptions options, std::vector<fabric::Fabric*> fabrics)
      : options_(std::move(options)), fabrics_(std::move(fabrics)) {}

  absl::Status Init(Clock* clock, Handler* handler) {
    std::vector<WorkerImpl*> workers;
    for (uint32_t i = 0; i < options_.workers; ++i) {
      RTRS_ASSIGN_OR_RETURN(auto worker, WorkerImpl::Create(static_cast<int>(i),
                                                            fabrics_, clock));
      workers.push_back(worker.get());
      workers_.push_back(std::move(worker));
    }
    control_ =
        std::make_unique<Control>(options_, clock, handler, fabrics_, workers);
    workers[0]->set_control(control_.get());
    return absl::OkStatus();
  }

  absl::StatusOr<SocketAddress> Listen(const SocketAddress& address) override;
  Worker* worker(int index) override {
    return workers_[static_cast<size_t>(index)].get();
  }
  int worker_count() const override {
    return static_cast<int>(workers_.size());
  }
  void Shutdown(std::function<void()> done) override {
    workers_[0]->PostTask([this, done = std::move(done)] {
      listeners_.clear();
      control_->Shutdown(done);
    });
  }
  Stats stats() const override { return control_->stats(); }

 private:
  const ServerOptions options_;
  const std::vector<fabric::Fabric*> fabrics_;
  // Connections, which control_ owns, go before the channels of workers_.
  std::vector<std::unique_ptr<WorkerImpl>> workers_;
  std::unique_ptr<Control> control_;
  std::vector<std::unique_ptr<fabric::Listener>> listeners_;
};

absl::StatusOr<SocketAddress> ServerImpl::Listen(const SocketAddress& address) {
  SocketAddress bound = address;
  std::vector<std::unique_ptr<fabric::Listener>> made;
  absl::Status last = ErrnoError(EADDRNOTAVAIL, address.ToString());
  for (size_t i = 0; i < fabrics_.size(); ++i) {
    auto listener = workers_[0]->port(i)->channel()->Listen(bound, kBacklog);
    const std::string& name = fabrics_[i]->device().name;
    if (listener.ok()) {
      bound = (*listener)->local_address();
      RTRS_LOG(info, "listening on {} over {}", bound.ToString(), name);
      made.push_back(*std::move(listener));
      continue;
    }
    last = Annotate(listener.status(), name);
    const int error = ErrnoOf(last);
    // No device of this fabric has the address: the others may.
    if (error != ENODEV && error != EADDRNOTAVAIL) return last;
    RTRS_LOG(info, "not listening on {} over {}: {}", bound.ToString(), name,
             listener.status());
  }
  if (made.empty()) return last;
  for (auto& listener : made) listeners_.push_back(std::move(listener));
  return bound;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Create(
    std::vector<fabric::Fabric*> fabrics, Clock* clock, Random* /*random*/,
    ServerOptions options, Handler* handler) {
  RTRS_RETURN_IF_ERROR(CheckServerOptions(options));
  if (fabrics.empty()) return ErrnoError(ENODEV, "a server without fabrics");
  for (const fabric::Fabric* fabric : fabrics) {
    RTRS_RETURN_IF_ERROR(CheckDevice(options, fabric->device()));
  }
  auto server =
      std::make_unique<ServerImpl>(std::move(options), std::move(fabrics));
  RTRS_RETURN_IF_ERROR(server->Init(clock, handler));
  return server;
}

}  // namespace rtrs::server
