#include "rtrs/fabric/softroce/softroce.h"

#include <sys/epoll.h>

#include <atomic>
#include <utility>

#include "rtrs/base/epoll_fd.h"
#include "rtrs/base/event_fd.h"
#include "rtrs/base/status_macros.h"
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
    RTRS_ASSIGN_OR_RETURN(EpollFd epoll, EpollFd::Create());
    RTRS_ASSIGN_OR_RETURN(EventFd wake, EventFd::Create());
    RTRS_RETURN_IF_ERROR(epoll.Watch(wake.fd(), EPOLLIN));
    return std::make_unique<Channel>(host_, &regions_, options_,
                                     std::move(epoll), std::move(wake));
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
