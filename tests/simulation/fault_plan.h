// All faults of a simulated run, from one seed: lose, delay and hold back bytes
// of the network, cut paths, kill clients and the server, cut its power, let
// disks fail, fill and hang, let time jump. One thread.
//
// The plan decides when; it acts on a FaultTargets, which knows how. Equal
// seeds give equal plans over equal runs.
#ifndef TESTS_SIMULATION_FAULT_PLAN_H_
#define TESTS_SIMULATION_FAULT_PLAN_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "tests/simulation/sim_disk.h"
#include "tests/simulation/sim_network.h"

namespace rnbd::simulation {

class FaultTargets {
 public:
  virtual ~FaultTargets() = default;
  virtual SimNetwork* network() = 0;
  virtual DiskFaults* disks() = 0;
  // Client addresses, one per path of a client.
  virtual size_t paths() const = 0;
  virtual const rtrs::SocketAddress& path(size_t index) const = 0;
  virtual size_t clients() const = 0;
  virtual void KillClient(size_t index) = 0;
  // Starts again after `downtime`.
  virtual void KillServer(bool cut_power, absl::Duration downtime) = 0;
  virtual void StopServer(absl::Duration downtime) = 0;  // as SIGTERM
};

enum class Fault {
  kNetwork,     // other chances of delays, losses, damage, repeats, refusals
  kFreeze,      // no byte moves at all for a while
  kCutPath,     // connections of one path break
  kHoldPath,    // bytes of one path are held back for a while
  kCutAll,      // all connections break
  kKillClient,  // without a word
  kKillServer,  // without a word; its machine lives
  kStopServer,  // in order
  kCutPower,    // of the server's machine
  kStallDisks,  // nothing completes for a while
  kFailDisks,   // EIO now and then, for a while
  kFillDisks,   // ENOSPC for a while
  kTimeJump,    // to the next deadline, or by seconds
};
inline constexpr size_t kFaultKinds = 13;
const char* FaultName(Fault fault);

class FaultPlan {
 public:
  FaultPlan(FaultTargets* targets, rtrs::ManualClock* clock,
            rtrs::Random* random)
      : targets_(targets), clock_(clock), random_(random) {}

  // How often a fault strikes: once in so many rounds, 0: never.
  void Set(Fault fault, uint32_t rounds) { rates_[Index(fault)] = rounds; }
  // One round: ends what has lasted long enough, begins what strikes.
  void Step();
  // Ends all faults; nothing strikes any more.
  void Heal();

  uint64_t count(Fault fault) const { return counts_[Index(fault)]; }

 private:
  static size_t Index(Fault fault) { return static_cast<size_t>(fault); }
  void Strike(Fault fault);
  void EndTimed();
  absl::Duration Below(absl::Duration most);

  FaultTargets* const targets_;
  rtrs::ManualClock* const clock_;
  rtrs::Random* const random_;
  std::array<uint32_t, kFaultKinds> rates_{};
  std::array<uint64_t, kFaultKinds> counts_{};
  absl::Time frozen_until_ = absl::InfinitePast();
  absl::Time held_until_ = absl::InfinitePast();
  size_t held_path_ = 0;
  absl::Time disks_until_ = absl::InfinitePast();
};

}  // namespace rnbd::simulation

#endif  // TESTS_SIMULATION_FAULT_PLAN_H_
