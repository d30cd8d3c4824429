#include "nbdkit-plugin/open_handles.h"

#include <algorithm>
#include <utility>

namespace rnbd::plugin {

Handle* OpenHandles::Add(std::unique_ptr<Handle> handle) {
  rtrs::MutexLock lock(&mu_);
  handles_.push_back(std::move(handle));
  return handles_.back().get();
}

void OpenHandles::Close(Handle* handle) {
  // Declared before the lock, so that it is not let go under it.
  std::unique_ptr<Handle> closed;
  rtrs::MutexLock lock(&mu_);
  const auto it =
      std::find_if(handles_.begin(), handles_.end(),
                   [handle](const auto& open) { return open.get() == handle; });
  closed = std::move(*it);
  handles_.erase(it);
}

int OpenHandles::End() {
  ended_.store(true);
  rtrs::MutexLock lock(&mu_);
  const auto busy =
      std::count_if(handles_.begin(), handles_.end(),
                    [](const auto& open) { return open->requests.load() > 0; });
  if (busy == 0) {
    for (const auto& handle : handles_) handle->lease.reset();
  }
  return static_cast<int>(busy);
}

}  // namespace rnbd::plugin
