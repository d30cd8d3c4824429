// The NBD connections that have a device open, and whether they use it.
//
// nbdkit calls close for a connection unless it was told to quit: then the
// plugin has to let go of what is open by itself, and must know that no request
// is under way. Any thread.
#ifndef NBDKIT_PLUGIN_OPEN_HANDLES_H_
#define NBDKIT_PLUGIN_OPEN_HANDLES_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "gateway/block_device.h"
#include "nbdkit-plugin/device_pool.h"
#include "rtrs/base/mutex.h"

namespace rnbd::plugin {

struct Handle {
  std::unique_ptr<DevicePool::Lease> lease;  // without device_path=
  gateway::BlockDevice* device = nullptr;
  uint32_t affinity = 0;
  std::string description;
  std::atomic<int> requests{0};  // under way
};

class OpenHandles {
 public:
  // A request under way; `admitted` is false, and the device not to be touched,
  // when nbdkit is ending.
  class Request {
   public:
    Request(const OpenHandles& handles, Handle* handle) : handle_(handle) {
      // Sequentially consistent, as in End: either it sees this request, or
      // this request sees the end.
      handle_->requests.fetch_add(1);
      admitted_ = !handles.ended_.load();
    }
    ~Request() { handle_->requests.fetch_sub(1); }
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;
    bool admitted() const { return admitted_; }

   private:
    Handle* const handle_;
    bool admitted_;
  };

  // Owns it until Close.
  Handle* Add(std::unique_ptr<Handle> handle);
  void Close(Handle* handle);

  // nbdkit ends: no request is admitted any more. Returns how many connections
  // have one under way; if none, their leases are given back.
  int End();

 private:
  std::atomic<bool> ended_{false};
  rtrs::Mutex mu_;
  std::vector<std::unique_ptr<Handle>> handles_ ABSL_GUARDED_BY(mu_);
};

}  // namespace rnbd::plugin

#endif  // NBDKIT_PLUGIN_OPEN_HANDLES_H_
