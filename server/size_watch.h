// Devices and files that are open may change their size: noticed here, and told
// to the clients that can hear it, until they have asked for the new one.
#ifndef SERVER_SIZE_WATCH_H_
#define SERVER_SIZE_WATCH_H_

#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "rtrs/base/mutex.h"

namespace rnbd::server {

struct OpenDevice;

// Any thread.
class SizeWatch {
 public:
  // Tells the client of a device that its size is not that of its last OPEN_RSP
  // any more. Called by Look, must not block or call back. Empty: the client
  // cannot hear it.
  using Tell = std::function<void()>;

  // Remove comes before the end of `device`; afterwards `tell` is not called.
  void Add(const OpenDevice* device, Tell tell);
  void Remove(const OpenDevice* device);
  // Looks at all of them. To be called every few seconds; does no I/O.
  void Look();

 private:
  rtrs::Mutex mutex_;
  absl::flat_hash_map<const OpenDevice*, Tell> devices_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rnbd::server

#endif  // SERVER_SIZE_WATCH_H_
