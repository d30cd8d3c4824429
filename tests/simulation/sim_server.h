// One life of the server of the simulation: the RTRS engine with its workers,
// the RNBD layer and storage, from its start to its end, which may be a kill.
// One thread.
#ifndef TESTS_SIMULATION_SIM_SERVER_H_
#define TESTS_SIMULATION_SIM_SERVER_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/server/server.h"
#include "server/export_opener.h"
#include "server/loss_record.h"
#include "server/rnbd_handler.h"
#include "tests/simulation/sim_disk.h"
#include "tests/simulation/sim_storage.h"

namespace rnbd::simulation {

// What outlives a process: a kill changes nothing here, a reset the secret.
struct SimMachine {
  rtrs::fabric::Fabric* fabric = nullptr;
  rtrs::Clock* clock = nullptr;
  rtrs::Random* random = nullptr;
  std::string exports;       // directory
  std::string state;         // directory of the loss record
  uint64_t boot_secret = 1;  // of write verifiers
  server::IoMode io = server::IoMode::kQueued;
  rtrs::server::ServerOptions options;
  SimDisks disks;
};

class SimServer {
 public:
  // Listens at once. `machine` is borrowed.
  SimServer(SimMachine* machine, const rtrs::SocketAddress& address);
  // As by SIGKILL, if it has not shut down.
  ~SimServer();

  const rtrs::SocketAddress& address() const { return address_; }
  size_t actors() const { return storage_.size(); }
  void Step(size_t actor);
  absl::Time NextDeadline() const;
  // As on SIGTERM; `down` becomes true when it could exit.
  void Shutdown(bool* down);

 private:
  // Knows the sessions that a kill leaves behind.
  class Handler : public server::RnbdHandler {
   public:
    using RnbdHandler::RnbdHandler;
    absl::Status OnSessionUp(rtrs::server::Session* session) override;
    void OnSessionDown(rtrs::server::Session* session) override;
    void DropAll();

   private:
    std::set<rtrs::server::Session*> sessions_;
  };

  server::LossRecord losses_;
  server::ExportPath paths_;
  server::DeviceRegistry registry_;
  server::ExportOpener opener_;
  std::vector<std::unique_ptr<SimStorage>> storage_;
  std::unique_ptr<Handler> handler_;
  std::unique_ptr<rtrs::server::Server> server_;
  rtrs::SocketAddress address_;
};

}  // namespace rnbd::simulation

#endif  // TESTS_SIMULATION_SIM_SERVER_H_
