#include "tests/simulation/sim_storage.h"

#include <utility>

#include "server/backing.h"

namespace rnbd::simulation {

server::StorageOp* SimStorage::TakeAny() {
  std::swap(waiting_[random_->Below(waiting_.size())], waiting_.back());
  server::StorageOp* op = waiting_.back();
  waiting_.pop_back();
  return op;
}

int SimStorage::Perform(server::StorageOp* op) {
  SimDisk* disk = disks_->Find(op->backing->fd());
  if (random_->Below(4) == 0) disk->WriteBack();
  const int error = disk->Perform(op, disks_->faults);
  if (error != 0) ++disks_->struck;
  return error;
}

bool SimStorage::Progress() {
  if (disks_->faults.stalled || waiting_.empty() || random_->Below(3) == 0) {
    return false;
  }
  const size_t count = 1 + random_->Below(waiting_.size());
  for (size_t i = 0; i < count; ++i) {
    server::StorageOp* op = TakeAny();
    op->done(op, Perform(op));
  }
  return true;
}

void SimStorage::Kill() {
  while (!waiting_.empty()) {
    server::StorageOp* op = TakeAny();
    if (random_->Below(2) == 0) Perform(op);
  }
}

}  // namespace rnbd::simulation
