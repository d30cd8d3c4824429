// The storage engines of all workers, and the threads behind them.
#ifndef SERVER_STORAGE_ENGINES_H_
#define SERVER_STORAGE_ENGINES_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "rtrs/server/server.h"
#include "server/blocking_pool.h"
#include "server/daemon_options.h"
#include "server/rnbd_session.h"
#include "server/storage_engine.h"

namespace rnbd::server {

// Made before the workers run; destroyed after them, when nothing is in
// flight.
class StorageEngines {
 public:
  // Looks whether io_uring is to be had, and logs what is used.
  static absl::StatusOr<std::unique_ptr<StorageEngines>> Create(
      EngineChoice choice, int workers);

  // Adds each worker's engines to it; returns what sessions need of them.
  std::vector<WorkerEngine> Attach(rtrs::server::Server* server);
  // Waits for the threads; nothing may be submitted any more.
  void StopThreads() { pool_.reset(); }

 private:
  StorageEngines();

  std::vector<std::unique_ptr<StorageEngine>> pool_engines_;  // by worker
  std::vector<std::unique_ptr<StorageEngine>> uring_engines_;
  std::unique_ptr<BlockingPool> pool_;
};

}  // namespace rnbd::server

#endif  // SERVER_STORAGE_ENGINES_H_
