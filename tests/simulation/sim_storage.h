// A storage engine for the simulation: operations wait in a queue and are done
// on SimDisks, in an order and at times that the seed decides. One thread.
#ifndef TESTS_SIMULATION_SIM_STORAGE_H_
#define TESTS_SIMULATION_SIM_STORAGE_H_

#include <cstdint>
#include <vector>

#include "rtrs/base/random.h"
#include "server/storage_engine.h"
#include "tests/simulation/sim_disk.h"

namespace rnbd::simulation {

class SimStorage : public server::StorageEngine {
 public:
  // Both borrowed.
  SimStorage(SimDisks* disks, rtrs::Random* random)
      : disks_(disks), random_(random) {}

  void Submit(server::StorageOp* op) override { waiting_.push_back(op); }
  void ForgetFile(uint32_t, uint64_t) override {}
  void ForgetMemory(int16_t) override {}
  const char* name() const override { return "simulated"; }

  // Does some of the waiting operations, in any order.
  bool Progress() override;
  size_t in_flight() const override { return waiting_.size(); }
  int fd() const override { return -1; }
  bool Arm() override { return waiting_.empty(); }

  // The server is killed: what waits is done or not, and nobody is told.
  void Kill();

 private:
  int Perform(server::StorageOp* op);
  server::StorageOp* TakeAny();

  SimDisks* const disks_;
  rtrs::Random* const random_;
  std::vector<server::StorageOp*> waiting_;
};

}  // namespace rnbd::simulation

#endif  // TESTS_SIMULATION_SIM_STORAGE_H_
