// State, set-up and end of a path; what moves over it is in path_io.cc.
#include "rtrs/client/path.h"

#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/client/path_errors.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::client {
namespace {

// Requests in flight on cid 0: the kernel's server posts 512 receives there
// and answers each request with up to four work requests out of 1026.
constexpr uint32_t kServiceDepth = 256;
// Requests in flight on one IO connection at the most.
constexpr uint32_t kMaxIoDepth = 4096;
// How long an orderly close waits for the peer.
constexpr absl::Duration kCloseTimeout = absl::Seconds(3);

}  // namespace

const char* PathStateName(PathState state) {
  switch (state) {
    case PathState::kIdle:
      return "idle";
    case PathState::kConnecting:
      return "connecting";
    case PathState::kInfo:
      return "info exchange";
    case PathState::kConnected:
      return "connected";
    case PathState::kClosing:
      return "closing";
    case PathState::kFailed:
      return "failed";
    case PathState::kClosed:
      return "closed";
  }
  return "?";
}

Path::Path(const Env* env, PathSpec spec, const Uuid& sess_uuid)
    : env_(env),
      spec_(std::move(spec)),
      sess_uuid_(sess_uuid),
      heartbeat_(env->options->heartbeat_interval,
                 env->options->heartbeat_missed_max) {}

Path::~Path() { TearDown(); }

void Path::SetState(PathState state) {
  if (state == state_) return;
  RTRS_LOG(debug, "session {}: path {}: {} -> {}", env_->options->sessname,
           spec_.ToString(), PathStateName(state_), PathStateName(state));
  state_ = state;
}

void Path::Fail(const absl::Status& why) {
  switch (state_) {
    case PathState::kConnecting:
    case PathState::kInfo:
    case PathState::kConnected:
      why_ = why;
      SetState(PathState::kFailed);
      break;
    case PathState::kIdle:
    case PathState::kClosing:  // ends by itself
    case PathState::kFailed:   // the first reason counts
    case PathState::kClosed:
      break;
  }
}

void Path::Start(bool first, absl::Time now) {
  first_ = first;
  why_ = absl::OkStatus();
  ++recon_cnt_;
  SetState(PathState::kConnecting);
  absl::StatusOr<std::unique_ptr<fabric::CompletionQueue>> cq =
      env_->channel->CreateCq(Connection::SendEntries(kServiceDepth) +
                              Connection::ReceiveEntries(kServiceDepth));
  if (!cq.ok()) {
    Fail(PathError(spec_, cq.status()));
    return;
  }
  service_cq_ = *std::move(cq);
  ConnectNext(now);
}

uint32_t Path::DepthOf(uint16_t cid) const {
  if (cid == 0) return kServiceDepth;
  // Each request in flight takes up to 1.5 send and 1 receive entries.
  const uint32_t by_wr = env_->device.max_qp_wr / 2;
  const uint32_t by_cqe =
      env_->device.max_cqe / env_->options->io_connections / 3;
  const uint32_t spare = 64;
  const uint32_t device = std::min(by_wr, by_cqe);
  return std::min(
      {limits_.queue_depth, kMaxIoDepth, device > spare ? device - spare : 1});
}

void Path::ConnectNext(absl::Time now) {
  const auto cid = static_cast<uint16_t>(cons_.size());
  absl::StatusOr<std::unique_ptr<Connection>> con = Connection::Create(
      env_->channel, env_->pd, cid == 0 ? service_cq_.get() : io_cq_.get(),
      this, cid, DepthOf(cid), cid > 0 && limits_.new_rkey);
  if (!con.ok()) {
    Fail(PathError(spec_, con.status()));
    return;
  }
  cons_.push_back(*std::move(con));
  wire::ConnectRequest request;
  request.cid = cid;
  request.cid_num = static_cast<uint16_t>(env_->options->io_connections + 1);
  request.recon_cnt = recon_cnt_;
  request.sess_uuid = sess_uuid_;
  request.paths_uuid = env_->paths_uuid;
  request.first_conn = first_ || cid > 0;  // after cid 0 the session exists
  request.capabilities.bits =
      wire::Capabilities::kFence | wire::Capabilities::kWriteVerifier |
      wire::Capabilities::kWriteZeroes | wire::Capabilities::kNotice;
  const absl::Duration timeout = env_->options->connect_timeout;
  deadline_ = now + timeout;
  const absl::Status status =
      cons_.back()->qp()->Connect(spec_, wire::Encode(request), timeout);
  if (!status.ok()) Fail(ConnectError(spec_, status));
}

void Path::OnEvent(Connection* con, const fabric::CmEvent& event,
                   absl::Time now) {
  using Type = fabric::CmEvent::Type;
  switch (event.type) {
    case Type::kEstablished:
      OnAccepted(con, event, now);
      return;
    case Type::kRejected:
      Fail(RejectError(spec_, con->cid(), event.private_data));
      return;
    case Type::kConnectError:
      Fail(ConnectError(spec_, event.status));
      return;
    case Type::kDisconnected:
      con->set_gone();
      if (state_ == PathState::kInfo) {
        Fail(RefusedNameError(spec_, env_->options->sessname));
      } else {
        const std::string text =
            absl::StrCat("connection ", con->cid(), " lost");
        Fail(PathError(spec_, event.status.ok()
                                  ? ErrnoError(ECONNRESET, text)
                                  : Annotate(event.status, text)));
      }
      return;
    case Type::kDeviceRemoved:
      Fail(PathError(spec_, ErrnoError(ENODEV, "the device was removed")));
      return;
    case Type::kConnectRequest:  // nobody listens here; rejected by its end
      return;
  }
}

void Path::OnAccepted(Connection* con, const fabric::CmEvent& event,
                      absl::Time now) {
  if (state_ != PathState::kConnecting) return;
  con->set_established();
  absl::StatusOr<wire::ConnectResponse> response =
      wire::DecodeConnectResponse(event.private_data);
  if (response.ok() && response->error != 0) {
    response = ErrnoError(ECONNRESET, "the server accepted with an error");
  }
  if (!response.ok()) {
    Fail(PathError(spec_, Annotate(response.status(),
                                   "malformed answer to the connect request")));
    return;
  }
  // Later connections carry the same numbers; nobody looks (§1.4).
  if (con->cid() == 0) {
    absl::StatusOr<PathLimits> limits =
        BoundConnectResponse(*response, *env_->options);
    if (!limits.ok()) {
      Fail(PathError(spec_, limits.status()));
      return;
    }
    limits_ = *limits;
    const uint32_t depth = DepthOf(1);
    absl::StatusOr<std::unique_ptr<fabric::CompletionQueue>> cq =
        env_->channel->CreateCq(env_->options->io_connections *
                                (Connection::SendEntries(depth) +
                                 Connection::ReceiveEntries(depth)));
    if (!cq.ok()) {
      Fail(PathError(spec_, cq.status()));
      return;
    }
    io_cq_ = *std::move(cq);
  }
  if (cons_.size() < env_->options->io_connections + 1) {
    ConnectNext(now);
  } else {
    StartInfoExchange(now);
  }
}

void Path::StartInfoExchange(absl::Time now) {
  SetState(PathState::kInfo);
  deadline_ = now + env_->options->info_timeout;
  const auto length = static_cast<uint32_t>(wire::InfoResponse::kHeaderSize +
                                            size_t{limits_.queue_depth} *
                                                wire::Descriptor::kSize);
  const absl::Status status = [this, length]() -> absl::Status {
    wire::InfoRequest info;
    info.sessname = env_->options->sessname;
    const auto request = wire::Encode(info);
    RTRS_ASSIGN_OR_RETURN(info_memory_, RegisteredMemory::Allocate(
                                            env_->pd, length + request.size(),
                                            fabric::kLocalWrite));
    // Behind the receive for INFO_RSP, which is consumed first (§2.1).
    RTRS_RETURN_IF_ERROR(cons_[0]->PostInfoReceive(info_memory_, length));
    for (const auto& con : cons_) RTRS_RETURN_IF_ERROR(con->PostReceives());
    uint8_t* const message = info_memory_.bytes.get() + length;
    std::copy(request.begin(), request.end(), message);
    const fabric::Sge sge = {message, static_cast<uint32_t>(request.size()),
                             info_memory_.region->lkey()};
    fabric::SendWr wr;
    wr.opcode = fabric::WrOpcode::kSend;
    wr.sg_list = {&sge, 1};
    return cons_[0]->Post(wr);
  }();
  if (!status.ok()) Fail(PathError(spec_, status));
}

void Path::OnInfoResponse(uint32_t length, absl::Time now) {
  absl::StatusOr<wire::InfoResponse> info =
      wire::DecodeInfoResponse({info_memory_.bytes.get(), length},
                               limits_.queue_depth, limits_.chunk_size);
  if (!info.ok()) {
    Fail(PathError(spec_, Annotate(info.status(), "malformed INFO_RSP")));
    return;
  }
  chunks_.clear();
  chunks_.reserve(limits_.queue_depth);
  for (const wire::Descriptor& region : info->descriptors) {
    for (uint32_t at = 0; at < region.length; at += limits_.chunk_size) {
      chunks_.push_back({region.address + at, region.rkey});
      if (region.length - at <= limits_.chunk_size) break;
    }
  }
  if (absl::Status s = env_->host->OnPathReady(*this); !s.ok()) {
    Fail(PathError(spec_, s));
    return;
  }
  deadline_ = absl::InfiniteFuture();
  heartbeat_.Start(now);
  SetState(PathState::kConnected);
  RTRS_LOG(info,
           "session {}: path {} port {}: connected, {} connections, queue "
           "depth {}, max_io_size {}{}",
           env_->options->sessname, spec_.ToString(), spec_.port, cons_.size(),
           limits_.queue_depth, limits_.max_io_size,
           limits_.new_rkey ? ", rkeys refreshed" : "");
}

void Path::Close(absl::Time now) {
  switch (state_) {
    case PathState::kIdle:
      SetState(PathState::kClosed);
      return;
    case PathState::kConnecting:
    case PathState::kInfo:
    case PathState::kConnected:
      heartbeat_.Stop();
      deadline_ = now + kCloseTimeout;
      SetState(PathState::kClosing);
      for (const auto& con : cons_) {
        if (con->established()) con->qp()->Disconnect();
      }
      return;
    case PathState::kClosing:
    case PathState::kFailed:
    case PathState::kClosed:
      return;
  }
}

bool Path::MustTearDown(absl::Time now) const {
  if (state_ == PathState::kFailed) return true;
  if (state_ != PathState::kClosing) return false;
  return now >= deadline_ ||
         std::none_of(cons_.begin(), cons_.end(), [](const auto& con) {
           return con->established() && !con->gone();
         });
}

void Path::TearDown() {
  if (state_ == PathState::kClosed) return;
  heartbeat_.Stop();
  deadline_ = absl::InfiniteFuture();
  ack_due_ = false;
  notice_due_.reset();
  in_flight_ = 0;
  for (const auto& con : cons_) {
    // A peer that learns of it at once need not wait for a heartbeat.
    if (con->established() && state_ != PathState::kClosing) {
      con->qp()->Disconnect();
    }
  }
  cons_.clear();
  io_cq_.reset();
  service_cq_.reset();
  info_memory_ = RegisteredMemory();
  chunks_.clear();
  SetState(PathState::kClosed);
}

void Path::OnTimer(absl::Time now) {
  if (now >= deadline_) {
    if (state_ == PathState::kConnecting) {
      Fail(ConnectError(spec_, ErrnoError(ETIMEDOUT, "cannot connect")));
    } else if (state_ == PathState::kInfo) {
      Fail(PathError(
          spec_, ErrnoError(ETIMEDOUT, "the server did not answer INFO_REQ")));
    }
  }
  switch (heartbeat_.Tick(now)) {
    case Heartbeat::Action::kNone:
      break;
    case Heartbeat::Action::kSend:
      if (absl::Status s = SendImmediate(wire::kHeartbeatImm); !s.ok()) {
        Fail(PathError(spec_, s));
      }
      break;
    case Heartbeat::Action::kFail:
      Fail(PathError(spec_,
                     ErrnoError(ETIMEDOUT, "no sign of life from the server")));
      break;
  }
}

absl::Time Path::deadline() const {
  return std::min(deadline_, heartbeat_.due());
}

}  // namespace rtrs::client
