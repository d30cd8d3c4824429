#include "server/storage_engines.h"

#include <utility>

#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "server/pool_engine.h"
#include "server/uring_engine.h"

namespace rnbd::server {
namespace {

// Threads that may block in storage, of the whole server. They do the rare
// operations beside io_uring, and all of them without it.
constexpr int kThreads = 16;

}  // namespace

StorageEngines::StorageEngines()
    : pool_(std::make_unique<BlockingPool>("rnbd-storage", kThreads)) {}

absl::StatusOr<std::unique_ptr<StorageEngines>> StorageEngines::Create(
    EngineChoice choice, int workers) {
  std::unique_ptr<StorageEngines> engines(new StorageEngines);
  for (int i = 0; i < workers; ++i) {
    RTRS_ASSIGN_OR_RETURN(auto pool_engine,
                          PoolEngine::Create(engines->pool_.get()));
    engines->pool_engines_.push_back(std::move(pool_engine));
  }
  if (choice == EngineChoice::kThreads) {
    RTRS_LOG(info, "storage engine: threads, as told by --io_engine");
    return engines;
  }
  for (int i = 0; i < workers; ++i) {
    auto uring = UringEngine::Create(i, engines->pool_engines_[i].get());
    if (uring.ok()) {
      engines->uring_engines_.push_back(*std::move(uring));
      continue;
    }
    if (choice == EngineChoice::kIoUring) {
      return rtrs::Annotate(uring.status(), "--io_engine=io_uring");
    }
    RTRS_LOG(warn, "storage engine: threads, because of {}", uring.status());
    engines->uring_engines_.clear();
    return engines;
  }
  RTRS_LOG(info, "storage engine: io_uring");
  return engines;
}

std::vector<WorkerEngine> StorageEngines::Attach(rtrs::server::Server* server) {
  std::vector<WorkerEngine> workers;
  for (int i = 0; i < server->worker_count(); ++i) {
    const auto index = static_cast<size_t>(i);
    rtrs::server::Worker* worker = server->worker(i);
    StorageEngine* engine = pool_engines_[index].get();
    worker->AddHook(engine);
    if (!uring_engines_.empty()) {
      engine = uring_engines_[index].get();
      worker->AddHook(engine);
    }
    workers.push_back({worker, engine});
  }
  return workers;
}

}  // namespace rnbd::server
