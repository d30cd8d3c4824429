// INFO_REQ and timers; connect requests are in control_connect.cc, the ends of
// paths in control_teardown.cc.
#include "rtrs/server/control.h"

#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/server/connection.h"

namespace rtrs::server {

Control::Control(const ServerOptions& options, Clock* clock, Handler* handler,
                 std::vector<fabric::Fabric*> fabrics,
                 std::vector<WorkerImpl*> workers)
    : options_(options),
      clock_(clock),
      handler_(handler),
      fabrics_(std::move(fabrics)),
      workers_(std::move(workers)),
      load_(workers_.size()),
      usage_(options_) {}

Control::~Control() = default;

absl::Status Control::OnInfoRequest(Path* path,
                                    absl::Span<const uint8_t> message) {
  if (path->state() != PathState::kConnecting) {
    return ErrnoError(EINVAL, "an INFO_REQ while the path is not connecting");
  }
  RTRS_RETURN_IF_ERROR(CheckAllOpen(*path));
  RTRS_ASSIGN_OR_RETURN(const wire::InfoRequest info,
                        wire::DecodeInfoRequest(message));
  SessionImpl* session = path->session();
  RTRS_RETURN_IF_ERROR(SetName(session, info.sessname));
  if (options_.always_invalidate) RTRS_RETURN_IF_ERROR(path->MakeWindows());
  RTRS_RETURN_IF_ERROR(PathUp(path));
  if (options_.always_invalidate) {
    return path->connections[0]->BindAllChunks();
  }
  const fabric::MemoryRegion& region = *path->registration().region;
  wire::InfoResponse response;
  // Fits 32 bits: see CheckServerOptions.
  response.descriptors = {{region.remote_address(), region.rkey(),
                           static_cast<uint32_t>(region.length())}};
  const std::vector<uint8_t> bytes = wire::Encode(response);
  std::copy(bytes.begin(), bytes.end(), path->info_response());
  return path->connections[0]->SendInfoResponse(
      {path->info_response(), static_cast<uint32_t>(bytes.size()),
       path->control_lkey()});
}

absl::Status Control::CheckAllOpen(const Path& path) const {
  for (size_t cid = 0; cid < path.connections.size(); ++cid) {
    const Connection* connection = path.connections[cid].get();
    if (connection == nullptr ||
        connection->state() != ConnectionState::kOpen) {
      return ErrnoError(
          EINVAL, absl::StrCat("an INFO_REQ before connection ", cid, " of ",
                               path.connections.size(), " is up"));
    }
  }
  return absl::OkStatus();
}

absl::Status Control::SetName(SessionImpl* session, const std::string& name) {
  if (session->name() == name) return absl::OkStatus();
  if (!session->name().empty()) {
    return ErrnoError(EINVAL,
                      absl::StrCat("session \"", session->name(),
                                   "\": a path calls it \"", name, "\""));
  }
  for (const auto& [uuid, other] : sessions_) {
    if (other->name() == name) {
      return ErrnoError(
          EPERM, absl::StrCat("session name \"", name, "\" is in use by ",
                              other->peer_address().ToString()));
    }
  }
  session->set_name(name);
  return absl::OkStatus();
}

absl::Status Control::PathUp(Path* path) {
  SessionImpl* session = path->session();
  if (session->up_paths == 0) {
    const absl::Status status = handler_->OnSessionUp(session);
    if (!status.ok()) {
      session->set_name("");
      return status;
    }
  }
  ++session->up_paths;
  path->was_up = true;
  path->Move(PathState::kConnected, "INFO_REQ");
  path->next_heartbeat = clock_->Now() + options_.heartbeat_interval;
  SetTimer(path->next_heartbeat);
  RTRS_LOG(info, "session \"{}\": path {} is up with {} connections over {}",
           session->name(), path->name(), path->connections.size(),
           fabrics_[path->port()]->device().name);
  return absl::OkStatus();
}

void Control::SetTimer(absl::Time at) {
  next_timer_ = std::min(next_timer_, at);
}

bool Control::Tick() {
  if (next_timer_ == absl::InfiniteFuture()) return false;
  const absl::Time now = clock_->Now();
  if (now < next_timer_) return false;
  next_timer_ = absl::InfiniteFuture();
  for (auto& [uuid, session] : sessions_) {
    for (auto& path : session->paths) TickPath(path.get(), now);
  }
  return true;
}

void Control::TickPath(Path* path, absl::Time now) {
  switch (path->state()) {
    case PathState::kConnecting:
      if (now < path->half_open_deadline) {
        return SetTimer(path->half_open_deadline);
      }
      return ClosePath(
          path, absl::StrCat("no INFO_REQ within ",
                             absl::FormatDuration(options_.half_open_timeout)));
    case PathState::kConnected:
      break;
    case PathState::kStopping:
      if (now < path->stop_deadline) return SetTimer(path->stop_deadline);
      return ClosePath(path, "shutdown: requests do not end");
    case PathState::kClosing:
    case PathState::kRetired:
      return;
  }
  if (now >= path->next_heartbeat) {
    switch (path->HeartbeatTick(options_.heartbeat_missed_max)) {
      case Path::Heartbeat::kNothing:
        break;
      case Path::Heartbeat::kSend:
        if (path->connections[0]->state() == ConnectionState::kOpen) {
          path->connections[0]->SendHeartbeat(/*ack=*/false);
        }
        break;
      case Path::Heartbeat::kDead:
        return ClosePath(path, "the peer does not answer heartbeats");
    }
    path->next_heartbeat = now + options_.heartbeat_interval;
  }
  SetTimer(path->next_heartbeat);
}

Server::Stats Control::stats() const {
  Server::Stats stats;
  stats.sessions = usage_.sessions();
  stats.paths = usage_.paths();
  stats.connections = usage_.connections();
  stats.chunk_bytes = usage_.chunk_bytes();
  stats.rejected_connects = rejected_connects_;
  stats.protocol_errors = protocol_errors_;
  return stats;
}

}  // namespace rtrs::server
