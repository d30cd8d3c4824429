#include "tests/simulation/fault_plan.h"

namespace rnbd::simulation {

const char* FaultName(Fault fault) {
  switch (fault) {
    case Fault::kNetwork:
      return "network";
    case Fault::kFreeze:
      return "freeze";
    case Fault::kCutPath:
      return "cut path";
    case Fault::kHoldPath:
      return "hold path";
    case Fault::kCutAll:
      return "cut all";
    case Fault::kKillClient:
      return "kill client";
    case Fault::kKillServer:
      return "kill server";
    case Fault::kStopServer:
      return "stop server";
    case Fault::kCutPower:
      return "cut power";
    case Fault::kStallDisks:
      return "stall disks";
    case Fault::kFailDisks:
      return "fail disks";
    case Fault::kFillDisks:
      return "fill disks";
    case Fault::kTimeJump:
      return "time jump";
  }
  return "unknown";
}

absl::Duration FaultPlan::Below(absl::Duration most) {
  return absl::Microseconds(random_->Below(
      static_cast<uint64_t>(absl::ToInt64Microseconds(most)) + 1));
}

void FaultPlan::Step() {
  EndTimed();
  for (size_t i = 0; i < kFaultKinds; ++i) {
    if (rates_[i] == 0 || random_->Below(rates_[i]) != 0) continue;
    ++counts_[i];
    Strike(static_cast<Fault>(i));
  }
}

void FaultPlan::EndTimed() {
  const absl::Time now = clock_->Now();
  if (now >= frozen_until_) {
    targets_->network()->SetFrozen(false);
    frozen_until_ = absl::InfiniteFuture();
  }
  if (now >= held_until_) {
    targets_->network()->SetHeld(targets_->path(held_path_), false);
    held_until_ = absl::InfiniteFuture();
  }
  if (now >= disks_until_) {
    *targets_->disks() = {};
    disks_until_ = absl::InfiniteFuture();
  }
}

void FaultPlan::Heal() {
  rates_ = {};
  frozen_until_ = held_until_ = disks_until_ = absl::InfinitePast();
  EndTimed();
  targets_->network()->Heal();
}

void FaultPlan::Strike(Fault fault) {
  const absl::Time now = clock_->Now();
  DiskFaults* disks = targets_->disks();
  switch (fault) {
    case Fault::kNetwork:
      return targets_->network()->ChooseFaults();
    case Fault::kFreeze:
      targets_->network()->SetFrozen(true);
      frozen_until_ = now + Below(absl::Seconds(1));
      return;
    case Fault::kCutPath:
      return targets_->network()->Cut(
          targets_->path(random_->Below(targets_->paths())));
    case Fault::kHoldPath:
      targets_->network()->SetHeld(targets_->path(held_path_), false);
      held_path_ = random_->Below(targets_->paths());
      targets_->network()->SetHeld(targets_->path(held_path_), true);
      // Often for longer than heartbeats take to find it out.
      held_until_ = now + Below(absl::Seconds(random_->Below(2) == 0 ? 1 : 60));
      return;
    case Fault::kCutAll:
      return targets_->network()->CutAll();
    case Fault::kKillClient:
      return targets_->KillClient(random_->Below(targets_->clients()));
    case Fault::kKillServer:
      return targets_->KillServer(/*cut_power=*/false, Below(absl::Seconds(2)));
    case Fault::kStopServer:
      return targets_->StopServer(Below(absl::Seconds(2)));
    case Fault::kCutPower:
      return targets_->KillServer(/*cut_power=*/true, Below(absl::Seconds(2)));
    case Fault::kStallDisks:
      disks->stalled = true;
      disks_until_ = now + Below(absl::Seconds(1));
      return;
    case Fault::kFailDisks:
      disks->error = static_cast<uint32_t>(random_->Below(200000));
      disks->sync_error = static_cast<uint32_t>(random_->Below(500000));
      disks_until_ = now + Below(absl::Milliseconds(300));
      return;
    case Fault::kFillDisks:
      disks->full = true;
      disks_until_ = now + Below(absl::Milliseconds(300));
      return;
    case Fault::kTimeJump:
      clock_->Advance(Below(absl::Seconds(8)));
      return;
  }
}

}  // namespace rnbd::simulation
