// Devices by NBD export name: mapped when first asked for, unmapped a few
// seconds after the last client let go. nbdkit opens and closes several times
// for one client (a list, an info, then the real thing), and each map costs
// the server an open.
//
// Any thread. The pool outlives its leases.
#ifndef NBDKIT_PLUGIN_DEVICE_POOL_H_
#define NBDKIT_PLUGIN_DEVICE_POOL_H_

#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gateway/gateway.h"
#include "rtrs/base/mutex.h"

namespace rnbd::plugin {

class DevicePool {
 public:
  DevicePool(std::shared_ptr<gateway::Gateway> gateway, absl::Duration linger);
  // Unmaps what is idle. No lease is left.
  ~DevicePool();

  // One use of a device; ends with its destructor.
  class Lease {
   public:
    Lease(DevicePool* pool, std::string name,
          std::shared_ptr<gateway::BlockDevice> device)
        : pool_(pool), name_(std::move(name)), device_(std::move(device)) {}
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    gateway::BlockDevice& device() const { return *device_; }

   private:
    DevicePool* const pool_;
    const std::string name_;
    std::shared_ptr<gateway::BlockDevice> device_;
  };
  absl::StatusOr<std::unique_ptr<Lease>> Acquire(const std::string& name,
                                                 wire::AccessMode mode);

 private:
  struct Entry {
    std::shared_ptr<gateway::BlockDevice> device;
    int users = 0;
    absl::Time idle_since;
  };
  void Release(const std::string& name);
  void Thread();
  // Takes what has been idle for long enough out of the table; `next` is when
  // the next one will have been.
  std::vector<std::shared_ptr<gateway::BlockDevice>> TakeIdle(absl::Time* next)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::shared_ptr<gateway::Gateway> gateway_;
  const absl::Duration linger_;
  rtrs::Mutex mu_;
  rtrs::CondVar changed_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace rnbd::plugin

#endif  // NBDKIT_PLUGIN_DEVICE_POOL_H_
