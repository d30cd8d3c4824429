#include "rtrs/fabric/verbs/verbs.h"

#include <errno.h>
#include <ifaddrs.h>
#include <infiniband/verbs.h>
#include <poll.h>
#include <rdma/rdma_cma.h>
#include <unistd.h>

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/verbs/addresses.h"
#include "rtrs/fabric/verbs/cm_id.h"
#include "rtrs/fabric/verbs/device.h"
#include "rtrs/fabric/verbs/translate.h"

namespace rtrs::fabric::verbs {

namespace {

constexpr int kResolveMilliseconds = 30'000;

// librdmacm complains on standard error where the kernel has no RDMA.
bool HaveRdma() { return access("/sys/class/misc/rdma_cm", F_OK) == 0; }

// An event channel for one question.
struct QuestionChannel {
  QuestionChannel()
      : channel(HaveRdma() ? rdma_create_event_channel() : nullptr) {}
  ~QuestionChannel() {
    if (channel != nullptr) rdma_destroy_event_channel(channel);
  }
  rdma_event_channel* channel;
};

std::vector<ibv_context*> Contexts() {
  if (!HaveRdma()) return {};
  int count = 0;
  ibv_context** list = rdma_get_devices(&count);
  if (list == nullptr) return {};
  std::vector<ibv_context*> contexts(list, list + count);
  rdma_free_devices(list);
  return contexts;
}

// The device to which `address` binds, or nullptr.
const ibv_context* BoundDevice(rdma_event_channel* channel,
                               const SocketAddress& address) {
  absl::StatusOr<std::unique_ptr<CmId>> id = CmId::Create(channel, RDMA_PS_TCP);
  if (!id.ok() || rdma_bind_addr((*id)->get(),
                                 const_cast<sockaddr*>(address.addr())) != 0) {
    return nullptr;
  }
  return (*id)->get()->verbs;
}

absl::StatusOr<rdma_cm_event_type> AwaitEvent(rdma_event_channel* channel,
                                              absl::Time deadline) {
  const int64_t ms =
      absl::ToInt64Milliseconds(deadline - Clock::System()->Now());
  pollfd waiting{.fd = channel->fd, .events = POLLIN, .revents = 0};
  if (poll(&waiting, 1,
           static_cast<int>(
               std::clamp<int64_t>(ms, 0, kResolveMilliseconds))) <= 0) {
    return ErrnoError(ETIMEDOUT, "rdma_cm");
  }
  rdma_cm_event* event = nullptr;
  if (rdma_get_cm_event(channel, &event) != 0) {
    return ErrnoError(errno, "rdma_get_cm_event");
  }
  const rdma_cm_event_type type = event->event;
  rdma_ack_cm_event(event);
  return type;
}

}  // namespace

std::vector<std::string> ListDevices() {
  std::vector<std::string> names;
  for (ibv_context* context : Contexts()) {
    names.emplace_back(ibv_get_device_name(context->device));
  }
  return names;
}

absl::StatusOr<std::unique_ptr<Fabric>> OpenDevice(absl::string_view name) {
  for (ibv_context* context : Contexts()) {
    if (name == ibv_get_device_name(context->device)) {
      return VerbsFabric::Open(context);
    }
  }
  const std::vector<std::string> names = ListDevices();
  return ErrnoError(ENODEV,
                    absl::StrCat("RDMA device \"", name, "\"; there is ",
                                 names.empty() ? "none (is rdma_ucm loaded?)"
                                               : absl::StrJoin(names, ", ")));
}

absl::StatusOr<std::string> FindDevice(const PathSpec& path,
                                       absl::Duration timeout) {
  const QuestionChannel question;
  if (question.channel == nullptr) {
    return ErrnoError(ENODEV, "no RDMA device (is rdma_ucm loaded?)");
  }
  RTRS_ASSIGN_OR_RETURN(
      std::unique_ptr<CmId> id,
      CmId::Create(question.channel, PortSpaceOf(path.destination)));
  CmAddress source = ToCmAddress(path.source, 0);
  CmAddress destination = ToCmAddress(path.destination, path.port);
  const std::string what = absl::StrCat("an RDMA device for ", path.ToString());
  if (rdma_resolve_addr(
          id->get(),
          path.source.kind == PathEnd::Kind::kNone ? nullptr : source.get(),
          destination.get(), kResolveMilliseconds) != 0) {
    return ErrnoError(errno, what);
  }
  // An address alone proves little: loopback has a device but no route.
  const absl::Time deadline = Clock::System()->Now() + timeout;
  absl::StatusOr<rdma_cm_event_type> event =
      AwaitEvent(question.channel, deadline);
  if (event.ok() && *event == RDMA_CM_EVENT_ADDR_RESOLVED) {
    if (rdma_resolve_route(id->get(), kResolveMilliseconds) != 0) {
      return ErrnoError(errno, what);
    }
    event = AwaitEvent(question.channel, deadline);
  }
  if (!event.ok()) return Annotate(event.status(), what);
  if (*event != RDMA_CM_EVENT_ROUTE_RESOLVED) {
    return ErrnoError(EHOSTUNREACH, what);
  }
  return std::string(ibv_get_device_name((*id)->verbs->device));
}

absl::StatusOr<std::string> FindDeviceOfAddress(const SocketAddress& address) {
  const QuestionChannel question;
  const ibv_context* context = nullptr;
  if (question.channel != nullptr && !address.IsAny()) {
    SocketAddress local = address;
    local.set_port(0);
    context = BoundDevice(question.channel, local);
  }
  if (context == nullptr) {
    return ErrnoError(ENODEV, absl::StrCat("no RDMA device has the address ",
                                           address.HostString()));
  }
  return std::string(ibv_get_device_name(context->device));
}

std::vector<SocketAddress> DeviceAddresses(const ibv_context* context) {
  std::vector<SocketAddress> found;
  const QuestionChannel question;
  ifaddrs* list = nullptr;
  if (question.channel == nullptr || getifaddrs(&list) != 0) return found;
  const auto free_list = absl::MakeCleanup([list] { freeifaddrs(list); });
  for (const ifaddrs* each = list; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr) continue;
    const SocketAddress address = FromCmAddress(each->ifa_addr);
    if (!address.is_set() || address.IsLoopback()) continue;
    if (BoundDevice(question.channel, address) == context) {
      found.push_back(address);
    }
  }
  return found;
}

}  // namespace rtrs::fabric::verbs
