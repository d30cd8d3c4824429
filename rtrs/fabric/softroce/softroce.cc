#include "rtrs/fabric/softroce/softroce.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>

#include "rtrs/base/errno_status.h"
#include "rtrs/fabric/protection_domain.h"
#include "rtrs/fabric/region_table.h"
#include "rtrs/fabric/softroce/channel.h"
#include "rtrs/fabric/softroce/device_limits.h"
#include "rtrs/fabric/softroce/host.h"
#include "rtrs/fabric/softroce/udp_transport.h"

namespace rtrs::softroce {
namespace {

class SoftroceFabric : public fabric::Fabric {
 public:
  SoftroceFabric(const SoftroceOptions& options, Host* host)
      : options_(options), host_(host), regions_(host->random()) {
    device_.name = "softroce";
    kDeviceLimits.CopyTo(&device_);
    // A packet may have to be sent again after the caller has its memory back:
    // a request that timed out is not acknowledged yet.
    device_.cheap_registration = false;
    device_.send_with_invalidate = true;
    device_.memory_windows = true;
  }

  const fabric::DeviceAttr& device() const override { return device_; }

  absl::StatusOr<std::unique_ptr<fabric::ProtectionDomain>> AllocPd() override {
    return std::make_unique<fabric::Pd>(&regions_, ++pd_count_);
  }

  absl::StatusOr<std::unique_ptr<fabric::EventChannel>> CreateEventChannel()
      override {
    const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) return ErrnoError(errno, "epoll_create1");
    const int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake_fd < 0) {
      const int error = errno;
      close(epoll_fd);
      return ErrnoError(error, "eventfd");
    }
    return std::make_unique<Channel>(host_, &regions_, options_, epoll_fd,
                                     wake_fd);
  }

 private:
  const SoftroceOptions options_;
  Host* const host_;
  fabric::RegionTable regions_;
  fabric::DeviceAttr device_;
  std::atomic<uint32_t> pd_count_{0};
};

}  // namespace

Host* SystemHost() {
  static auto* host =
      new Host(SystemUdpTransport(), Clock::System(), Random::System());
  return host;
}

std::unique_ptr<fabric::Fabric> NewSoftroce(const SoftroceOptions& options,
                                            Host* host) {
  return std::make_unique<SoftroceFabric>(options, host);
}

}  // namespace rtrs::softroce
