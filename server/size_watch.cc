#include "server/size_watch.h"

#include <cstdint>

#include "absl/strings/escaping.h"
#include "rtrs/base/log.h"

namespace rnbd::server {

void SizeWatch::Add(Backing* backing, const std::string& path) {
  rtrs::MutexLock lock(&mutex_);
  paths_[backing] = path;
}

void SizeWatch::Remove(Backing* backing) {
  rtrs::MutexLock lock(&mutex_);
  paths_.erase(backing);
}

void SizeWatch::Look() {
  rtrs::MutexLock lock(&mutex_);
  for (const auto& [backing, path] : paths_) {
    const uint64_t before = backing->size();
    backing->RefreshSize();
    if (backing->size() == before) continue;
    RTRS_LOG(warn,
             "{} has changed from {} to {} bytes while it is open; clients "
             "see the new size when they open it again",
             absl::CHexEscape(path), before, backing->size());
  }
}

}  // namespace rnbd::server
