#include "tests/simulation/sim_storage.h"

#include <utility>

#include "server/blocking_io.h"

namespace rnbd::simulation {

bool SimStorage::Progress() {
  if (stalled_ || waiting_.empty() || random_->Below(3) == 0) return false;
  const size_t count = 1 + random_->Below(waiting_.size());
  for (size_t i = 0; i < count; ++i) {
    std::swap(waiting_[random_->Below(waiting_.size())], waiting_.back());
    server::StorageOp* op = waiting_.back();
    waiting_.pop_back();
    op->done(op, server::PerformBlocking(op));
  }
  return true;
}

}  // namespace rnbd::simulation
