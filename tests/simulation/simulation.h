// The whole stack in one thread: client engines, a fabric over a network in
// memory, the server engine with its workers, the RNBD layer and disks with a
// volatile cache, under a fault plan. A seed decides everything, so that a run
// repeats exactly.
#ifndef TESTS_SIMULATION_SIMULATION_H_
#define TESTS_SIMULATION_SIMULATION_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "tests/simulation/fault_plan.h"
#include "tests/simulation/sim_client.h"
#include "tests/simulation/sim_network.h"
#include "tests/simulation/sim_server.h"

namespace rnbd::simulation {

class Simulation : private FaultTargets {
 public:
  // Below `directory` the disks are made.
  Simulation(FabricKind kind, uint64_t seed, const std::string& directory);
  ~Simulation() override;

  FaultPlan& plan() { return plan_; }
  // Runs `rounds` rounds with faults, then heals everything, lets every
  // client finish and checks each disk against what it must contain.
  void Run(int rounds);

  const std::vector<std::string>& violations() const { return violations_; }
  // What happened, in order; equal for equal seeds.
  const std::string& trace() const { return trace_; }
  SimClient::Stats totals() const;
  uint64_t network_faults() const { return network_->faults(); }

 private:
  // FaultTargets:
  SimNetwork* network() override { return network_.get(); }
  DiskFaults* disks() override { return &machine_.disks.faults; }
  size_t paths() const override { return sources_.size(); }
  const rtrs::SocketAddress& path(size_t index) const override {
    return sources_[index];
  }
  size_t clients() const override { return clients_.size(); }
  void KillClient(size_t index) override { clients_[index]->Crash(); }
  void KillServer(bool cut_power, absl::Duration downtime) override;
  void StopServer(absl::Duration downtime) override;

  void SetUpMachine(const std::string& directory);
  void AddClient(const std::string& name);
  void ChooseRates();
  void StartServer();
  void Round();
  // Moves the clock to the next thing that is due.
  void Sleep();
  void CheckDisks();
  bool AllOpenAndIdle() const;

  rtrs::SeededRandom random_;
  rtrs::ManualClock clock_;
  std::unique_ptr<SimNetwork> network_;
  FaultPlan plan_{this, &clock_, &random_};
  SimMachine machine_;
  std::unique_ptr<SimServer> server_;  // none while it is down
  rtrs::SocketAddress address_;
  bool stopped_ = false;  // has shut down in order
  absl::Time start_at_ = absl::InfiniteFuture();
  absl::Duration downtime_;                   // after an orderly stop
  std::vector<rtrs::SocketAddress> sources_;  // of all paths
  std::vector<std::unique_ptr<SimClient>> clients_;
  std::vector<std::string> violations_;
  std::string trace_;
};

}  // namespace rnbd::simulation

#endif  // TESTS_SIMULATION_SIMULATION_H_
