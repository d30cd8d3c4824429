#include "tests/simulation/sim_network.h"

#include <algorithm>
#include <map>
#include <string>

#include "rtrs/fabric/softiwarp/fault_transport.h"
#include "rtrs/fabric/softiwarp/memory_transport.h"
#include "rtrs/fabric/softiwarp/softiwarp.h"
#include "rtrs/fabric/softroce/host.h"
#include "rtrs/fabric/softroce/memory_network.h"
#include "rtrs/fabric/softroce/softroce.h"

namespace rnbd::simulation {
namespace {

// A chance per million up to `most`, half of the time none.
uint32_t Chance(rtrs::Random* random, uint32_t most) {
  return random->Below(2) == 0 ? 0u
                               : static_cast<uint32_t>(random->Below(most));
}

class SoftiwarpNetwork : public SimNetwork {
 public:
  SoftiwarpNetwork(rtrs::Clock* clock, rtrs::Random* random)
      : random_(random),
        network_(
            {.capacity = 1024 + random->Below(64 << 10),
             .max_segment = 536 + static_cast<uint32_t>(random->Below(9000)),
             .stays_on_host = false}),
        faults_(&network_, clock, random) {
    // Checksums on: corruption must be noticed, not survived by luck.
    rtrs::fabric::SoftiwarpOptions options;
    options.crc = rtrs::fabric::SoftiwarpOptions::Crc::kOn;
    fabric_ = rtrs::fabric::NewSoftiwarp(options, &faults_, clock, random);
  }

  rtrs::fabric::Fabric* fabric() override { return fabric_.get(); }
  void ChooseFaults() override {
    rtrs::fabric::FaultPlan plan;
    plan.split = Chance(random_, 500000);
    plan.delay = Chance(random_, 100000);
    plan.corrupt = random_->Below(4) == 0 ? Chance(random_, 1000) : 0;
    plan.cut = random_->Below(4) == 0 ? Chance(random_, 2000) : 0;
    plan.refuse = random_->Below(4) == 0 ? Chance(random_, 500000) : 0;
    faults_.set_plan(plan);
  }
  void SetFrozen(bool frozen) override { faults_.set_frozen(frozen); }
  void SetHeld(const rtrs::SocketAddress& host, bool held) override {
    faults_.set_held(host, held);
  }
  void Cut(const rtrs::SocketAddress& host) override { faults_.Cut(host); }
  void CutAll() override { faults_.CutAll(); }
  void Heal() override {
    faults_.set_plan({});
    faults_.set_frozen(false);
  }
  absl::Time NextArrival() const override { return absl::InfiniteFuture(); }
  uint64_t faults() const override { return faults_.faults(); }

 private:
  rtrs::Random* const random_;
  rtrs::fabric::MemoryTransport network_;
  rtrs::fabric::FaultTransport faults_;
  std::unique_ptr<rtrs::fabric::Fabric> fabric_;
};

class SoftroceNetwork : public SimNetwork {
 public:
  SoftroceNetwork(rtrs::Clock* clock, rtrs::Random* random)
      : clock_(clock),
        random_(random),
        network_({.mtu = random->Below(2) == 0 ? 1500U : 9000U,
                  .receive_buffer = 100000 + random->Below(1 << 20)},
                 clock, random),
        host_(&network_, clock, random),
        fabric_(rtrs::softroce::NewSoftroce({}, &host_)) {
    network_.set_filter([this](const auto& from, const auto& to, auto) {
      return !frozen_ && clock_->Now() >= all_silent_until_ && Passes(from) &&
             Passes(to);
    });
  }

  rtrs::fabric::Fabric* fabric() override { return fabric_.get(); }
  void ChooseFaults() override {
    rtrs::softroce::NetworkFaults faults;
    faults.lose = Chance(random_, 50000);
    faults.lose_burst = Chance(random_, 3000);
    faults.repeat = Chance(random_, 50000);
    faults.reorder = Chance(random_, 100000);
    faults.corrupt = Chance(random_, 20000);
    faults.delay = absl::Microseconds(Chance(random_, 2000));
    network_.set_faults(faults);
  }
  void SetFrozen(bool frozen) override { frozen_ = frozen; }
  void SetHeld(const rtrs::SocketAddress& host, bool held) override {
    silent_until_[host.HostString()] =
        held ? absl::InfiniteFuture() : absl::InfinitePast();
  }
  // There is nobody to break a connection, but it does not outlive this.
  void Cut(const rtrs::SocketAddress& host) override {
    absl::Time& until = silent_until_[host.HostString()];
    until = std::max(until, clock_->Now() + kSilence);
  }
  void CutAll() override { all_silent_until_ = clock_->Now() + kSilence; }
  void Heal() override {
    network_.set_faults({});
    frozen_ = false;
    silent_until_.clear();
    all_silent_until_ = absl::InfinitePast();
  }
  absl::Time NextArrival() const override { return network_.NextArrival(); }
  uint64_t faults() const override {
    return network_.stats().lost + network_.stats().corrupted;
  }

 private:
  static constexpr absl::Duration kSilence = absl::Seconds(20);
  bool Passes(const rtrs::SocketAddress& host) const {
    const auto found = silent_until_.find(host.HostString());
    return found == silent_until_.end() || clock_->Now() >= found->second;
  }

  rtrs::Clock* const clock_;
  rtrs::Random* const random_;
  bool frozen_ = false;
  std::map<std::string, absl::Time> silent_until_;  // by host
  absl::Time all_silent_until_ = absl::InfinitePast();
  rtrs::softroce::MemoryNetwork network_;
  rtrs::softroce::Host host_;
  std::unique_ptr<rtrs::fabric::Fabric> fabric_;
};

}  // namespace

std::unique_ptr<SimNetwork> SimNetwork::Create(FabricKind kind,
                                               rtrs::Clock* clock,
                                               rtrs::Random* random) {
  if (kind == FabricKind::kSoftroce) {
    return std::make_unique<SoftroceNetwork>(clock, random);
  }
  return std::make_unique<SoftiwarpNetwork>(clock, random);
}

}  // namespace rnbd::simulation
