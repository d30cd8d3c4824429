#include "rtrs/server/path.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/server/connection.h"
#include "rtrs/server/session_impl.h"

namespace rtrs::server {

const char* PathStateName(PathState state) {
  switch (state) {
    case PathState::kConnecting:
      return "connecting";
    case PathState::kConnected:
      return "connected";
    case PathState::kStopping:
      return "stopping";
    case PathState::kClosing:
      return "closing";
    case PathState::kRetired:
      return "retired";
  }
  return "unknown";
}

Path::Path(SessionImpl* session, Control* control, size_t port,
           const wire::ConnectRequest& request, const SocketAddress& local,
           const SocketAddress& peer)
    : connections(request.cid_num),
      session_(session),
      control_(control),
      port_(port),
      uuid_(request.sess_uuid),
      recon_cnt_(request.recon_cnt),
      joins_session_(!request.first_conn),
      local_(local),
      peer_(peer),
      name_(absl::StrCat(peer.HostString(), "@", local.HostString())) {}

absl::StatusOr<std::unique_ptr<Path>> Path::Create(
    SessionImpl* session, Control* control, size_t port, fabric::Fabric* fabric,
    const wire::ConnectRequest& request, const SocketAddress& local,
    const SocketAddress& peer) {
  auto path =
      absl::WrapUnique(new Path(session, control, port, request, local, peer));
  RTRS_ASSIGN_OR_RETURN(path->registration_,
                        session->memory().RegisterWith(fabric, port));
  RTRS_ASSIGN_OR_RETURN(path->control_region_,
                        path->registration_->pd->RegisterMemory(
                            path->control_block_.data(),
                            path->control_block_.size(), fabric::kLocalWrite));
  return path;
}

Path::~Path() {
  connections.clear();  // their queue pairs use control_region_ and windows_
}

absl::Status Path::MakeWindows() {
  RTRS_ASSIGN_OR_RETURN(
      windows_, ChunkWindows::Create(*registration_, session_->chunk_size()));
  return absl::OkStatus();
}

void Path::Move(PathState to, absl::string_view why) {
  const PathState from = state();
  RTRS_LOG(debug, "path {}: {} -> {}: {}", name_, PathStateName(from),
           PathStateName(to), why);
  if (to == PathState::kConnected) {
    const size_t depth =
        session_->chunk_memory().size() / session_->chunk_size();
    operations_ = std::make_unique_for_overwrite<Operation[]>(depth);
    for (size_t i = 0; i < depth; ++i) {
      operations_[i].buf_id = static_cast<uint32_t>(i);
      operations_[i].session = session_;
    }
  }
  state_.store(to, std::memory_order_release);
}

Path::Heartbeat Path::HeartbeatTick(int missed_max) {
  if (alive_.exchange(false, std::memory_order_relaxed)) missed_ = 0;
  if (missed_ > missed_max) return Heartbeat::kDead;
  return missed_++ == 0 ? Heartbeat::kSend : Heartbeat::kNothing;
}

}  // namespace rtrs::server
