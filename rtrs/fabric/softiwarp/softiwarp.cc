#include "rtrs/fabric/softiwarp/softiwarp.h"

#include <atomic>
#include <utility>

#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/protection_domain.h"
#include "rtrs/fabric/softiwarp/core.h"
#include "rtrs/fabric/softiwarp/device_limits.h"
#include "rtrs/fabric/softiwarp/event_channel.h"

namespace rtrs::fabric {
namespace softiwarp {
namespace {

class SoftiwarpFabric : public Fabric {
 public:
  SoftiwarpFabric(const SoftiwarpOptions& options, Transport* transport,
                  Clock* clock, Random* random)
      : core_(options, transport, clock, random) {
    device_.name = "softiwarp";
    kDeviceLimits.CopyTo(&device_);
    device_.cheap_registration = true;
    device_.send_with_invalidate = true;
    device_.memory_windows = true;
  }

  const DeviceAttr& device() const override { return device_; }

  absl::StatusOr<std::unique_ptr<ProtectionDomain>> AllocPd() override {
    return std::make_unique<Pd>(&core_.stags, ++pd_count_);
  }

  absl::StatusOr<std::unique_ptr<EventChannel>> CreateEventChannel() override {
    RTRS_ASSIGN_OR_RETURN(auto poller, core_.transport->CreatePoller());
    return std::make_unique<Channel>(&core_, std::move(poller));
  }

 private:
  Core core_;
  DeviceAttr device_;
  std::atomic<uint32_t> pd_count_{0};
};

}  // namespace
}  // namespace softiwarp

std::unique_ptr<Fabric> NewSoftiwarp(const SoftiwarpOptions& options,
                                     Transport* transport, Clock* clock,
                                     Random* random) {
  return std::make_unique<softiwarp::SoftiwarpFabric>(options, transport, clock,
                                                      random);
}

}  // namespace rtrs::fabric
