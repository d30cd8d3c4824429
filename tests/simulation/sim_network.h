// The fabric of a simulation and the faults of the network under it.
#ifndef TESTS_SIMULATION_SIM_NETWORK_H_
#define TESTS_SIMULATION_SIM_NETWORK_H_

#include <cstdint>
#include <memory>

#include "absl/time/time.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/fabric/fabric.h"

namespace rnbd::simulation {

enum class FabricKind { kSoftiwarp, kSoftroce };

class SimNetwork {
 public:
  static std::unique_ptr<SimNetwork> Create(FabricKind kind, rtrs::Clock* clock,
                                            rtrs::Random* random);
  virtual ~SimNetwork() = default;
  virtual rtrs::fabric::Fabric* fabric() = 0;
  // Another mixture of what goes on all the time: delays, losses, damage.
  virtual void ChooseFaults() = 0;
  // While on, nothing arrives anywhere.
  virtual void SetFrozen(bool frozen) = 0;
  // While on, nothing arrives at one address or from it: over softiwarp it is
  // held back and arrives late, over softroce it is lost.
  virtual void SetHeld(const rtrs::SocketAddress& host, bool held) = 0;
  // Breaks all connections of one address, or all.
  virtual void Cut(const rtrs::SocketAddress& host) = 0;
  virtual void CutAll() = 0;
  // Ends all faults.
  virtual void Heal() = 0;
  // When something arrives that nobody can see before.
  virtual absl::Time NextArrival() const = 0;
  virtual uint64_t faults() const = 0;
};

}  // namespace rnbd::simulation

#endif  // TESTS_SIMULATION_SIM_NETWORK_H_
