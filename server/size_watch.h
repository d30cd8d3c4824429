// Devices and files that are open may change their size: noticed here, and told
// to clients at their next OPEN, because RNBD has no message for it.
#ifndef SERVER_SIZE_WATCH_H_
#define SERVER_SIZE_WATCH_H_

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "rtrs/base/mutex.h"
#include "server/backing.h"

namespace rnbd::server {

// Any thread.
class SizeWatch {
 public:
  // `path` is for the log. Remove comes before the end of `backing`.
  void Add(Backing* backing, const std::string& path);
  void Remove(Backing* backing);
  // Looks at all of them. To be called every few seconds; does no I/O.
  void Look();

 private:
  rtrs::Mutex mutex_;
  absl::flat_hash_map<Backing*, std::string> paths_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace rnbd::server

#endif  // SERVER_SIZE_WATCH_H_
