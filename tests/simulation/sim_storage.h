// A storage engine for the simulation: operations wait in a queue and are done
// in an order and at times that the seed decides. One thread.
#ifndef TESTS_SIMULATION_SIM_STORAGE_H_
#define TESTS_SIMULATION_SIM_STORAGE_H_

#include <cstdint>
#include <vector>

#include "rtrs/base/random.h"
#include "server/storage_engine.h"

namespace rnbd::simulation {

class SimStorage : public server::StorageEngine {
 public:
  explicit SimStorage(rtrs::Random* random) : random_(random) {}

  void Submit(server::StorageOp* op) override { waiting_.push_back(op); }
  void ForgetFile(uint32_t, uint64_t) override {}
  void ForgetMemory(int16_t) override {}
  const char* name() const override { return "simulated"; }

  // Does some of the waiting operations, in any order.
  bool Progress() override;
  size_t in_flight() const override { return waiting_.size(); }
  int fd() const override { return -1; }
  bool Arm() override { return waiting_.empty(); }

  // While on, nothing is done: the disk hangs.
  void set_stalled(bool stalled) { stalled_ = stalled; }

 private:
  rtrs::Random* random_;
  bool stalled_ = false;
  std::vector<server::StorageOp*> waiting_;
};

}  // namespace rnbd::simulation

#endif  // TESTS_SIMULATION_SIM_STORAGE_H_
