// The whole stack in one thread: client engines, a fabric over a network in
// memory with faults, the server engine with its workers, the RNBD layer and
// storage. A seed decides everything, so that a run repeats exactly.
#ifndef TESTS_SIMULATION_SIMULATION_H_
#define TESTS_SIMULATION_SIMULATION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/server/server.h"
#include "server/export_opener.h"
#include "server/rnbd_handler.h"
#include "tests/simulation/sim_client.h"
#include "tests/simulation/sim_network.h"
#include "tests/simulation/sim_storage.h"

namespace rnbd::simulation {

class Simulation {
 public:
  // Below `directory` the disks are made.
  Simulation(FabricKind kind, uint64_t seed, std::string directory);
  ~Simulation();

  // Runs `rounds` rounds with faults, then heals the network, lets every
  // client finish and checks each disk against what it must contain.
  void Run(int rounds);

  const std::vector<std::string>& violations() const { return violations_; }
  // What happened, in order; equal for equal seeds.
  const std::string& trace() const { return trace_; }
  SimClient::Stats totals() const;
  uint64_t faults() const { return network_->faults(); }

 private:
  void ChooseFaults();
  void Round();
  // Moves the clock to the next thing that is due.
  void Sleep();
  bool AllOpenAndIdle() const;

  rtrs::SeededRandom random_;
  rtrs::ManualClock clock_;
  std::unique_ptr<SimNetwork> network_;
  std::string directory_;
  std::unique_ptr<server::ExportPath> paths_;
  server::DeviceRegistry registry_{1};
  std::unique_ptr<server::ExportOpener> opener_;
  std::vector<std::unique_ptr<SimStorage>> storage_;
  std::unique_ptr<server::RnbdHandler> handler_;
  std::unique_ptr<rtrs::server::Server> server_;
  std::vector<std::unique_ptr<SimClient>> clients_;
  std::vector<std::string> violations_;
  std::string trace_;
};

}  // namespace rnbd::simulation

#endif  // TESTS_SIMULATION_SIMULATION_H_
