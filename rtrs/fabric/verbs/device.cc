#include "rtrs/fabric/verbs/device.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/mutex.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/verbs/channel.h"
#include "rtrs/fabric/verbs/translate.h"

namespace rtrs::fabric::verbs {
namespace {

constexpr uint32_t kRxeVendorId = 0xFFFFFF;

}  // namespace

absl::StatusOr<std::unique_ptr<VerbsFabric>> VerbsFabric::Open(
    ibv_context* context) {
  auto fabric = std::unique_ptr<VerbsFabric>(new VerbsFabric(context));
  RTRS_RETURN_IF_ERROR(fabric->Query());
  return fabric;
}

absl::Status VerbsFabric::Query() {
  attr_.name = ibv_get_device_name(context_->device);
  ibv_device_attr device{};
  if (const int error = ibv_query_device(context_, &device); error != 0) {
    return ErrnoError(error, absl::StrCat("ibv_query_device ", attr_.name));
  }
  bool active = false;
  uint32_t max_message = 0;
  for (int port = device.phys_port_cnt; port >= 1; --port) {
    ibv_port_attr port_attr{};
    if (ibv_query_port(context_, static_cast<uint8_t>(port), &port_attr) != 0) {
      continue;
    }
    max_message = std::max(max_message, port_attr.max_msg_sz);
    if (port_attr.state == IBV_PORT_ACTIVE) {
      active = true;
      port_ = static_cast<uint8_t>(port);
    }
  }
  if (!active) {
    RTRS_LOG(warn, "RDMA device {}: no port is active; is its link up?",
             attr_.name);
  }
  // One is kept for the marker of Disconnect.
  attr_.max_qp_wr = static_cast<uint32_t>(device.max_qp_wr) - 1;
  attr_.max_send_sge = static_cast<uint32_t>(device.max_sge);
  attr_.max_cqe = static_cast<uint32_t>(device.max_cqe);
  attr_.max_message_size = max_message;
  attr_.cheap_registration = false;
  attr_.rdma_device = true;
  attr_.send_with_invalidate =
      (device.device_cap_flags & IBV_DEVICE_MEM_MGT_EXTENSIONS) != 0;
  attr_.memory_windows = (device.device_cap_flags & IBV_DEVICE_MEM_WINDOW) != 0;
  attr_.max_inline = ProbeInline();
  repeats_local_work_ = device.vendor_id == kRxeVendorId;
  RTRS_LOG(info,
           "RDMA device {}: {} work requests a queue, {} completions a queue, "
           "{} inline bytes, {} bytes a message",
           attr_.name, attr_.max_qp_wr, attr_.max_cqe, attr_.max_inline,
           attr_.max_message_size);
  if (!attr_.send_with_invalidate) {
    RTRS_LOG(warn,
             "RDMA device {} has no SEND with invalidate (memory management "
             "extensions): kernel clients cannot be served",
             attr_.name);
  }
  // Every thread's channel reads them, so nobody may block in it.
  const int flags = fcntl(context_->async_fd, F_GETFL);
  if (flags < 0 ||
      fcntl(context_->async_fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    return ErrnoError(errno, absl::StrCat("async events of ", attr_.name));
  }
  return absl::OkStatus();
}

// Verbs have no query for it: the largest of some usual sizes with which a
// queue pair can be made.
uint32_t VerbsFabric::ProbeInline() const {
  ibv_pd* pd = ibv_alloc_pd(context_);
  if (pd == nullptr) return 0;
  const auto free_pd = absl::MakeCleanup([pd] { ibv_dealloc_pd(pd); });
  ibv_cq* cq = ibv_create_cq(context_, 4, nullptr, nullptr, 0);
  if (cq == nullptr) return 0;
  const auto free_cq = absl::MakeCleanup([cq] { ibv_destroy_cq(cq); });
  for (const uint32_t size : {512u, 400u, 256u, 220u, 128u, 64u}) {
    ibv_qp_init_attr init{};
    init.send_cq = init.recv_cq = cq;
    init.qp_type = IBV_QPT_RC;
    init.cap = {.max_send_wr = 2,
                .max_recv_wr = 1,
                .max_send_sge = std::min(attr_.max_send_sge, 4u),
                .max_recv_sge = 1,
                .max_inline_data = size};
    if (ibv_qp* qp = ibv_create_qp(pd, &init); qp != nullptr) {
      ibv_destroy_qp(qp);
      return size;
    }
  }
  return 0;
}

int VerbsFabric::NextCompletionVector() {
  const int vectors = std::max(1, context_->num_comp_vectors);
  return static_cast<int>(next_vector_.fetch_add(1) %
                          static_cast<uint32_t>(vectors));
}

absl::StatusOr<std::unique_ptr<ProtectionDomain>> VerbsFabric::AllocPd() {
  ibv_pd* pd = ibv_alloc_pd(context_);
  if (pd == nullptr) {
    return ErrnoError(errno, absl::StrCat("protection domain on ", attr_.name));
  }
  return std::make_unique<VerbsPd>(this, pd);
}

absl::StatusOr<std::unique_ptr<EventChannel>>
VerbsFabric::CreateEventChannel() {
  return VerbsChannel::Create(this);
}

void VerbsFabric::Register(uint32_t qp_num, VerbsChannel* channel) {
  rtrs::MutexLock lock(&mutex_);
  channels_[qp_num] = channel;
}

void VerbsFabric::Unregister(uint32_t qp_num) {
  rtrs::MutexLock lock(&mutex_);
  channels_.erase(qp_num);
}

void VerbsFabric::HandleAsyncEvents() {
  // The lock is held until the event is acknowledged: destroying a queue pair
  // waits for that, and Unregister before it waits for us.
  rtrs::MutexLock lock(&mutex_);
  ibv_async_event event;
  while (ibv_get_async_event(context_, &event) == 0) {
    const char* what = ibv_event_type_str(event.event_type);
    switch (event.event_type) {
      case IBV_EVENT_QP_FATAL:
      case IBV_EVENT_QP_REQ_ERR:
      case IBV_EVENT_QP_ACCESS_ERR:
      case IBV_EVENT_COMM_EST: {
        const uint32_t qp_num = event.element.qp->qp_num;
        if (auto it = channels_.find(qp_num); it != channels_.end()) {
          it->second->PostAsync(qp_num, event.event_type);
        }
        break;
      }
      case IBV_EVENT_DEVICE_FATAL:
        RTRS_LOG(err, "RDMA device {}: {}", attr_.name, what);
        for (const auto& [qp_num, channel] : channels_) {
          channel->PostAsync(qp_num, event.event_type);
        }
        break;
      case IBV_EVENT_PORT_ERR:
        RTRS_LOG(warn, "RDMA device {} port {}: {}", attr_.name,
                 event.element.port_num, what);
        break;
      case IBV_EVENT_PORT_ACTIVE:
        RTRS_LOG(info, "RDMA device {} port {}: {}", attr_.name,
                 event.element.port_num, what);
        break;
      case IBV_EVENT_CQ_ERR:
        RTRS_LOG(err, "RDMA device {}: {}", attr_.name, what);
        break;
      default:
        RTRS_LOG(debug, "RDMA device {}: {}", attr_.name, what);
    }
    ibv_ack_async_event(&event);
  }
}

VerbsRegion::VerbsRegion(ibv_mr* mr, void* address, size_t length) : mr_(mr) {
  address_ = static_cast<uint8_t*>(address);
  length_ = length;
  remote_address_ = reinterpret_cast<uint64_t>(address);
  lkey_ = mr->lkey;
  rkey_ = mr->rkey;
}

VerbsRegion::~VerbsRegion() {
  if (const int error = ibv_dereg_mr(mr_); error != 0) {
    RTRS_LOG(err, "deregistering memory of {} bytes: {}", length_,
             ErrnoError(error, "ibv_dereg_mr"));
  }
}

VerbsWindow::~VerbsWindow() {
  if (const int error = ibv_dealloc_mw(mw_); error != 0) {
    RTRS_LOG(err, "freeing a memory window: {}",
             ErrnoError(error, "ibv_dealloc_mw"));
  }
}

VerbsPd::~VerbsPd() {
  if (const int error = ibv_dealloc_pd(pd_); error != 0) {
    RTRS_LOG(err, "RDMA device {}: {}", fabric_->device().name,
             ErrnoError(error, "ibv_dealloc_pd"));
  }
}

absl::StatusOr<std::unique_ptr<MemoryRegion>> VerbsPd::RegisterMemory(
    void* address, size_t length, uint32_t access) {
  ibv_mr* mr = ibv_reg_mr(pd_, address, length,
                          static_cast<unsigned int>(TranslateAccess(access)));
  if (mr == nullptr) {
    const int error = errno;
    return ErrnoError(
        error, absl::StrCat("registering ", length, " bytes on ",
                            fabric_->device().name,
                            error == ENOMEM
                                ? " (is the limit of locked memory, ulimit -l, "
                                  "high enough?)"
                                : ""));
  }
  return std::make_unique<VerbsRegion>(mr, address, length);
}

absl::StatusOr<std::unique_ptr<MemoryWindow>> VerbsPd::AllocWindow() {
  ibv_mw* mw = ibv_alloc_mw(pd_, IBV_MW_TYPE_1);
  if (mw == nullptr) {
    return ErrnoError(
        errno, absl::StrCat("a memory window of ", fabric_->device().name));
  }
  return std::make_unique<VerbsWindow>(mw);
}

}  // namespace rtrs::fabric::verbs
