// How paths and sessions end: close, abort, fence, shutdown.
#include <errno.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/log.h"
#include "rtrs/server/connection.h"
#include "rtrs/server/control.h"

namespace rtrs::server {

void Control::PostClose(Path* path, std::string why) {
  workers_[0]->PostTask(
      [this, path, why = std::move(why)] { ClosePath(path, why); });
}

void Control::PostIdle(Path* path) {
  workers_[0]->PostTask([this, path] {
    if (path->state() != PathState::kStopping) return;
    if (--path->busy_connections == 0) ClosePath(path, "shutdown");
  });
}

void Control::PostRetired(Path* path) {
  workers_[0]->PostTask([this, path] {
    if (--path->queue_pairs == 0) RetirePath(path);
  });
}

void Control::PostGone(Path* path) {
  workers_[0]->PostTask([this, path] {
    if (--path->live_connections == 0) RemovePath(path);
  });
}

void Control::ClosePath(Path* path, absl::string_view why) {
  if (BeginClose(path, why)) TellConnections(path, &Connection::Close);
}

void Control::AbortPath(Path* path, absl::string_view why) {
  if (path->state() == PathState::kRetired) return;
  if (BeginClose(path, why)) return TellConnections(path, &Connection::Abort);
  // Each has been told to close and may be gone any time: the task must keep
  // the path itself.
  for (auto& connection : path->connections) {
    if (connection == nullptr) continue;
    ++path->live_connections;
    connection->worker()->PostTask([this, path, connection = connection.get()] {
      connection->Abort();
      PostGone(path);
    });
  }
}

bool Control::BeginClose(Path* path, absl::string_view why) {
  if (path->closing()) return false;
  if (path->was_up) {
    RTRS_LOG(info, "session \"{}\": path {} closes: {}",
             path->session()->name(), path->name(), why);
  } else {
    RTRS_LOG_EVERY(info, absl::Seconds(1), "half-open path {} closes: {}",
                   path->name(), why);
  }
  path->Move(PathState::kClosing, why);
  return true;
}

void Control::TellConnections(Path* path, void (Connection::*what)()) {
  for (auto& connection : path->connections) {
    if (connection == nullptr) continue;
    connection->worker()->PostTask(
        [connection = connection.get(), what] { (connection->*what)(); });
  }
}

void Control::RetirePath(Path* path) {
  path->Move(PathState::kRetired, "the queue pairs are gone");
  if (path->successor == nullptr) return;
  OnConnectRequest(path->successor_port, std::move(path->successor));
}

void Control::RemovePath(Path* path) {
  SessionImpl* session = path->session();
  const SocketAddress peer = path->peer();
  for (auto& connection : path->connections) {
    if (connection == nullptr) continue;
    if (connection->cid() != 0) --load_[connection->worker()->index()];
    usage_.RemoveConnection(peer);
  }
  usage_.RemovePath(peer);
  AnswerFences(session, path);
  const bool was_up = path->was_up;
  std::erase_if(session->paths,
                [path](const auto& other) { return other.get() == path; });
  if (was_up && --session->up_paths == 0) {
    RTRS_LOG(info, "session \"{}\": closed, the last path is gone",
             session->name());
    handler_->OnSessionDown(session);
    session->context = nullptr;
    session->set_name("");
    // What the layer above knew of the session is gone, and a client that
    // still sees another of its paths up would not open it again.
    for (auto& other : session->paths) {
      if (other->joins_session()) AbortPath(other.get(), "the session ended");
    }
  }
  if (session->paths.empty()) {
    usage_.RemoveSession(session->peer_address());
    sessions_.erase(Uuid(session->uuid()));
  }
  if (shutting_down_ && sessions_.empty() && on_shutdown_) {
    std::exchange(on_shutdown_, nullptr)();
  }
}

void Control::DisconnectSession(const Uuid& uuid) {
  auto it = sessions_.find(uuid);
  if (it == sessions_.end()) return;
  for (auto& path : it->second->paths) {
    ClosePath(path.get(), "disconnected here");
  }
}

void Control::Shutdown(std::function<void()> done) {
  shutting_down_ = true;
  if (sessions_.empty()) return done();
  on_shutdown_ = std::move(done);
  for (auto& [uuid, session] : sessions_) {
    for (auto& path : session->paths) StopPath(path.get());
  }
}

void Control::StopPath(Path* path) {
  if (path->state() != PathState::kConnected) {
    return ClosePath(path, "shutdown");
  }
  path->Move(PathState::kStopping, "shutdown");
  path->stop_deadline = clock_->Now() + options_.stop_timeout;
  SetTimer(path->stop_deadline);
  path->busy_connections = static_cast<uint32_t>(path->connections.size());
  TellConnections(path, &Connection::Stop);
}

}  // namespace rtrs::server
