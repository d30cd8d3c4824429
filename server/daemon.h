// rnbd-server between its command line and its end: builds the parts, listens,
// runs the workers, and closes in order.
#ifndef SERVER_DAEMON_H_
#define SERVER_DAEMON_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rtrs/base/event_fd.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/server/server.h"
#include "rtrs/server/worker_thread.h"
#include "server/blocking_pool.h"
#include "server/daemon_options.h"
#include "server/device_registry.h"
#include "server/export_opener.h"
#include "server/export_path.h"
#include "server/loss_record.h"
#include "server/rnbd_handler.h"
#include "server/storage_engines.h"

namespace rnbd::server {

// One thread.
class Daemon {
 public:
  explicit Daemon(const DaemonOptions& options);
  ~Daemon();

  // Listens and starts to serve.
  absl::Status Start();
  // Where; valid after Start.
  const std::vector<rtrs::SocketAddress>& addresses() const {
    return addresses_;
  }
  // What over: "softiwarp".
  std::string FabricNames() const;
  int workers() const { return server_->worker_count(); }

  // Begins to close all sessions in order.
  void BeginShutdown();
  // Readable when that is done.
  int shutdown_fd() const { return shutdown_.fd(); }
  // Stops everything. Only when shutdown_fd() is readable.
  void Finish();

  // To be called every few seconds: notices devices that change their size, and
  // tells their clients.
  void LookAtSizes() const { opener_.LookAtSizes(); }

  rtrs::server::Server::Stats stats() const { return server_->stats(); }

 private:
  absl::Status Listen();
  // Leaves out what cannot serve with these options, but never the last.
  void DropUnfitFabrics();
  absl::StatusOr<rtrs::SocketAddress> ListenOn(
      const rtrs::SocketAddress& address);

  const DaemonOptions options_;
  rtrs::EventFd shutdown_;
  std::vector<std::unique_ptr<rtrs::fabric::Fabric>> fabrics_;
  LossRecord losses_;
  ExportPath paths_;
  DeviceRegistry registry_;
  ExportOpener opener_;
  std::unique_ptr<StorageEngines> engines_;
  std::unique_ptr<RnbdHandler> handler_;
  std::unique_ptr<rtrs::server::Server> server_;
  // Opens and closes devices; its tasks use all of the above.
  std::unique_ptr<BlockingPool> control_;
  std::vector<std::unique_ptr<rtrs::server::WorkerThread>> threads_;
  std::vector<rtrs::SocketAddress> addresses_;
};

}  // namespace rnbd::server

#endif  // SERVER_DAEMON_H_
