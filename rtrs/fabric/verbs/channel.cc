#include "rtrs/fabric/verbs/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/mutex.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/verbs/listener.h"

namespace rtrs::fabric::verbs {

namespace {

// Rounds without a sleep between looks at the descriptors.
constexpr int kLookEvery = 32;

absl::Status SetNonBlocking(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    return ErrnoError(errno, "making an RDMA event descriptor non-blocking");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventChannel>> VerbsChannel::Create(
    VerbsFabric* fabric) {
  auto channel = std::unique_ptr<VerbsChannel>(new VerbsChannel(fabric));
  RTRS_RETURN_IF_ERROR(channel->Open());
  return channel;
}

absl::Status VerbsChannel::Open() {
  cm_channel_ = rdma_create_event_channel();
  if (cm_channel_ == nullptr) {
    return ErrnoError(errno, "rdma_create_event_channel");
  }
  completion_channel_ = ibv_create_comp_channel(fabric_->context());
  if (completion_channel_ == nullptr) {
    return ErrnoError(errno, "ibv_create_comp_channel");
  }
  RTRS_ASSIGN_OR_RETURN(wake_, EventFd::Create());
  RTRS_ASSIGN_OR_RETURN(epoll_, EpollFd::Create());
  RTRS_RETURN_IF_ERROR(SetNonBlocking(cm_channel_->fd));
  RTRS_RETURN_IF_ERROR(SetNonBlocking(completion_channel_->fd));
  for (const int fd : {cm_channel_->fd, completion_channel_->fd,
                       fabric_->context()->async_fd, wake_.fd()}) {
    RTRS_RETURN_IF_ERROR(epoll_.Watch(fd, EPOLLIN));
  }
  return absl::OkStatus();
}

VerbsChannel::~VerbsChannel() {
  events_.clear();  // destroys connect requests, which use the channel
  if (completion_channel_ != nullptr) {
    ibv_destroy_comp_channel(completion_channel_);
  }
  if (cm_channel_ != nullptr) rdma_destroy_event_channel(cm_channel_);
}

absl::StatusOr<std::unique_ptr<CompletionQueue>> VerbsChannel::CreateCq(
    uint32_t entries) {
  return std::make_unique<VerbsCq>(this, entries);
}

absl::StatusOr<std::unique_ptr<QueuePair>> VerbsChannel::CreateQp(
    const QueuePairInit& init) {
  return VerbsQueuePair::Create(this, init);
}

absl::StatusOr<std::unique_ptr<Listener>> VerbsChannel::Listen(
    const SocketAddress& address, int backlog) {
  return VerbsListener::Create(this, address, backlog);
}

void VerbsChannel::AddQueuePair(uint32_t qp_num, VerbsQueuePair* qp) {
  queue_pairs_[qp_num] = qp;
  fabric_->Register(qp_num, this);
}

void VerbsChannel::RemoveQueuePair(uint32_t qp_num, VerbsQueuePair* qp) {
  fabric_->Unregister(qp_num);
  queue_pairs_.erase(qp_num);
  with_deadline_.erase(qp);
  std::erase(dirty_, qp);
  std::erase_if(events_, [qp](const CmEvent& e) { return e.qp == qp; });
}

void VerbsChannel::WatchDeadline(VerbsQueuePair* qp, bool on) {
  if (on) {
    with_deadline_.insert(qp);
  } else {
    with_deadline_.erase(qp);
  }
}

void VerbsChannel::PostAsync(uint32_t qp_num, ibv_event_type event) {
  {
    rtrs::MutexLock lock(&inbox_mutex_);
    inbox_.emplace_back(qp_num, event);
  }
  wake_.Raise();
}

bool VerbsChannel::Progress() {
  bool busy = false;
  if (slept_ || ++rounds_ >= kLookEvery) {
    slept_ = false;
    rounds_ = 0;
    busy = PollDescriptors();
  }
  if (!with_deadline_.empty()) {
    const absl::Time now = Clock::System()->Now();
    const std::vector<VerbsQueuePair*> due(with_deadline_.begin(),
                                           with_deadline_.end());
    for (VerbsQueuePair* qp : due) {
      if (qp->deadline() <= now) {
        qp->OnDeadline();
        busy = true;
      }
    }
  }
  return busy;
}

bool VerbsChannel::PollDescriptors() {
  std::array<epoll_event, 4> ready;
  const int n = epoll_wait(epoll_.fd(), ready.data(), ready.size(), 0);
  bool busy = false;
  for (int i = 0; i < n; ++i) {
    const int fd = ready[static_cast<size_t>(i)].data.fd;
    if (fd == cm_channel_->fd) {
      busy |= DrainCmEvents();
    } else if (fd == completion_channel_->fd) {
      busy |= DrainCompletionEvents();
    } else if (fd == wake_.fd()) {
      busy |= DrainAsync();
    } else {
      fabric_->HandleAsyncEvents();
      busy |= DrainAsync();
    }
  }
  return busy;
}

bool VerbsChannel::DrainCompletionEvents() {
  ibv_cq* cq = nullptr;
  void* context = nullptr;
  bool any = false;
  while (ibv_get_cq_event(completion_channel_, &cq, &context) == 0) {
    static_cast<CqShard*>(context)->armed = false;
    ibv_ack_cq_events(cq, 1);
    any = true;
  }
  return any;
}

bool VerbsChannel::DrainAsync() {
  wake_.Clear();
  std::vector<std::pair<uint32_t, ibv_event_type>> inbox;
  {
    rtrs::MutexLock lock(&inbox_mutex_);
    inbox.swap(inbox_);
  }
  for (const auto& [qp_num, event] : inbox) {
    if (VerbsQueuePair* qp = FindQueuePair(qp_num); qp != nullptr) {
      qp->OnAsyncEvent(event);
    }
  }
  return !inbox.empty();
}

bool VerbsChannel::DrainCmEvents() {
  rdma_cm_event* event = nullptr;
  bool any = false;
  while (rdma_get_cm_event(cm_channel_, &event) == 0) {
    any = true;
    CmDetails details;
    details.type = event->event;
    details.status = event->status;
    const auto* data =
        static_cast<const uint8_t*>(event->param.conn.private_data);
    if (data != nullptr) {
      details.private_data.assign(data,
                                  data + event->param.conn.private_data_len);
    }
    VerbsQueuePair* qp = nullptr;
    VerbsListener* listener = nullptr;
    std::unique_ptr<CmId> request;
    if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
      listener = static_cast<CmId*>(event->listen_id->context)->listener;
      request = std::make_unique<CmId>(event->id);
    } else {
      // Read before the acknowledgement: until then nobody can free it.
      const CmId* id = static_cast<CmId*>(event->id->context);
      qp = id->qp;
      listener = id->listener;
    }
    rdma_ack_cm_event(event);
    if (request != nullptr) {
      listener->OnRequest(std::move(request), std::move(details.private_data));
    } else if (qp != nullptr) {
      qp->OnCmEvent(details);
    } else if (listener != nullptr) {
      listener->OnCmEvent(details);
    }
    // Else a request that nobody has answered yet: accepting it will fail.
  }
  return any;
}

void VerbsChannel::Flush() {
  // A failing post may append to the list: by index, to the end.
  for (size_t i = 0; i < dirty_.size(); ++i) dirty_[i]->FlushSends();
  dirty_.clear();
}

bool VerbsChannel::NextEvent(CmEvent* event) {
  if (events_.empty()) return false;
  *event = std::move(events_.front());
  events_.pop_front();
  return true;
}

bool VerbsChannel::Arm() {
  slept_ = true;
  if (!events_.empty() || !dirty_.empty()) return false;
  bool idle = true;
  for (VerbsCq* cq : cqs_) idle &= cq->Arm();
  // Fetching completions may have raised events.
  return idle && events_.empty();
}

absl::Time VerbsChannel::NextDeadline() const {
  absl::Time first = absl::InfiniteFuture();
  for (const VerbsQueuePair* qp : with_deadline_) {
    first = std::min(first, qp->deadline());
  }
  return first;
}

}  // namespace rtrs::fabric::verbs
