#include "server/size_watch.h"

#include <cstdint>
#include <utility>

#include "absl/strings/escaping.h"
#include "rtrs/base/log.h"
#include "server/device_table.h"

namespace rnbd::server {

void SizeWatch::Add(const OpenDevice* device, Tell tell) {
  rtrs::MutexLock lock(&mutex_);
  devices_[device] = std::move(tell);
}

void SizeWatch::Remove(const OpenDevice* device) {
  rtrs::MutexLock lock(&mutex_);
  devices_.erase(device);
}

void SizeWatch::Look() {
  rtrs::MutexLock lock(&mutex_);
  for (const auto& [device, tell] : devices_) {
    Backing& backing = *device->backing;
    const uint64_t before = backing.size();
    backing.RefreshSize();
    const uint64_t now = backing.size();
    if (now != before) {
      RTRS_LOG(warn,
               "{} has changed from {} to {} bytes while session {} has it "
               "open: {}",
               absl::CHexEscape(device->path), before, now,
               absl::CHexEscape(device->session_name),
               tell ? "its client is told"
                    : "its client cannot be told, and sees the new size when "
                      "it opens the device again");
    }
    // The word may be lost on its way: said until it was asked about.
    if (tell && now != device->told_size.load(std::memory_order_relaxed)) {
      tell();
    }
  }
}

}  // namespace rnbd::server
