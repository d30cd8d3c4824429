// Connect requests: the checks of wire.md §1.5 in their order, with the
// kernel's errnos, then session, path and connection.
#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/server/connection.h"
#include "rtrs/server/control.h"

namespace rtrs::server {

// Where a connection goes, or why not.
struct Control::Decision {
  absl::Status status;  // with the errno of the rejection
  Path* path = nullptr;
  Path* wait_for = nullptr;  // decide again when this one is retired
};

std::array<uint8_t, wire::ConnectResponse::kSize> EncodeRejection(int error) {
  wire::ConnectResponse response;
  response.error = error;
  return wire::Encode(response);
}

void Control::OnConnectRequest(
    size_t port, std::unique_ptr<fabric::ConnectRequest> request) {
  const auto wanted = wire::DecodeConnectRequest(request->private_data());
  Decision decision;
  if (!wanted.ok()) {
    decision.status = ErrnoError(ECONNRESET, wanted.status().message());
  } else if (shutting_down_) {
    decision.status = ErrnoError(ECONNRESET, "shutting down");
  } else {
    decision = Decide(*wanted, port, request->local_address(),
                      request->peer_address());
  }
  if (!decision.status.ok()) {
    rejected_connects_.fetch_add(1, std::memory_order_relaxed);
    RTRS_LOG_EVERY(info, absl::Seconds(1), "connect from {} rejected: {}",
                   request->peer_address().ToString(), decision.status);
    request->Reject(EncodeRejection(ErrnoOf(decision.status)));
    return;
  }
  if (decision.wait_for != nullptr) {
    return HoldUntilRetired(decision.wait_for, port, std::move(request));
  }
  AddConnection(decision.path, *wanted, std::move(request));
}

Control::Decision Control::Decide(const wire::ConnectRequest& wanted,
                                  size_t port, const SocketAddress& local,
                                  const SocketAddress& peer) {
  SessionImpl* session = nullptr;
  if (auto it = sessions_.find(wanted.paths_uuid); it != sessions_.end()) {
    session = it->second.get();
  } else if (!wanted.first_conn) {
    return {ErrnoError(ENXIO, "unknown session, and not its first connection")};
  }
  if (session != nullptr) {
    for (auto& path : session->paths) {
      if (path->uuid() == wanted.sess_uuid &&
          path->state() != PathState::kRetired) {
        return DecideKnownPath(path.get(), wanted);
      }
    }
    if (session->paths.size() >= wire::kMaxPaths) {
      return {ErrnoError(ECONNRESET, absl::StrCat("session \"", session->name(),
                                                  "\" has all its paths"))};
    }
    for (auto& path : session->paths) {
      if (path->local().SameHost(local) && path->peer().SameHost(peer) &&
          path->state() != PathState::kRetired) {
        if (wanted.cid == 0 && path->closing()) {
          return {absl::OkStatus(), nullptr, path.get()};
        }
        return {
            ErrnoError(EEXIST, absl::StrCat("session \"", session->name(),
                                            "\" has a path ", path->name()))};
      }
    }
  }
  Decision decision;
  decision.status =
      usage_.Check(peer, {.session = session == nullptr, .path = true});
  if (!decision.status.ok()) return decision;
  auto path = AddPath(session, wanted, port, local, peer);
  if (!path.ok()) return {path.status()};
  return {absl::OkStatus(), *path};
}

Control::Decision Control::DecideKnownPath(Path* path,
                                           const wire::ConnectRequest& wanted) {
  // A client begins anew with cid 0 when it has given up what we still hold
  // (design decision 8).
  if (wanted.cid == 0 && path->connections[0] != nullptr) {
    return {absl::OkStatus(), nullptr, path};
  }
  if (path->state() != PathState::kConnecting) {
    return {ErrnoError(ECONNRESET, absl::StrCat("path ", path->name(), " is ",
                                                PathStateName(path->state())))};
  }
  if (wanted.cid_num != path->connections.size()) {
    return {ErrnoError(
        ECONNRESET,
        absl::StrCat("path ", path->name(), ": cid_num ", wanted.cid_num,
                     " after ", path->connections.size()))};
  }
  if (path->connections[wanted.cid] != nullptr) {
    return {ErrnoError(ECONNRESET,
                       absl::StrCat("path ", path->name(), ": cid ", wanted.cid,
                                    " is connected already"))};
  }
  return {usage_.Check(path->peer(), {}), path};
}

void Control::HoldUntilRetired(
    Path* path, size_t port, std::unique_ptr<fabric::ConnectRequest> request) {
  RTRS_LOG(debug, "path {}: the client connects it again", path->name());
  // An older attempt that still waits is given up by its client too.
  path->successor = std::move(request);
  path->successor_port = port;
  AbortPath(path, "the client connects it again");
}

absl::StatusOr<SessionImpl*> Control::AddSession(
    const wire::ConnectRequest& wanted, const SocketAddress& peer) {
  RTRS_ASSIGN_OR_RETURN(
      auto memory,
      ChunkMemory::Map(
          size_t{options_.sess_queue_depth} * options_.max_chunk_size,
          fabric::kLocalWrite |
              (options_.always_invalidate ? fabric::kBindWindows
                                          : fabric::kRemoteWrite)));
  const Uuid uuid = wanted.paths_uuid;
  auto session = std::make_unique<SessionImpl>(
      uuid, peer, wanted.capabilities, std::move(memory),
      options_.sess_queue_depth, options_.max_chunk_size,
      [this, uuid] {
        workers_[0]->PostTask([this, uuid] { DisconnectSession(uuid); });
      },
      [this, uuid](uint32_t payload) {
        workers_[0]->PostTask(
            [this, uuid, payload] { SendNotice(uuid, payload); });
      });
  SessionImpl* added = session.get();
  sessions_[uuid] = std::move(session);
  usage_.AddSession(peer);
  return added;
}

absl::StatusOr<Path*> Control::AddPath(SessionImpl* session,
                                       const wire::ConnectRequest& wanted,
                                       size_t port, const SocketAddress& local,
                                       const SocketAddress& peer) {
  const bool new_session = session == nullptr;
  if (new_session) {
    RTRS_ASSIGN_OR_RETURN(session, AddSession(wanted, peer));
  }
  auto path =
      Path::Create(session, this, port, fabrics_[port], wanted, local, peer);
  if (!path.ok()) {
    if (new_session) {
      usage_.RemoveSession(peer);
      sessions_.erase(wanted.paths_uuid);
    }
    return path.status();
  }
  session->paths.push_back(*std::move(path));
  usage_.AddPath(peer);
  return session->paths.back().get();
}

size_t Control::ChooseWorker(uint16_t cid) {
  if (cid == 0) return 0;
  const size_t index = static_cast<size_t>(
      std::min_element(load_.begin(), load_.end()) - load_.begin());
  ++load_[index];
  return index;
}

void Control::AddConnection(Path* path, const wire::ConnectRequest& wanted,
                            std::unique_ptr<fabric::ConnectRequest> request) {
  WorkerImpl* worker = workers_[ChooseWorker(wanted.cid)];
  auto made = std::make_unique<Connection>(path, worker, handler_, wanted.cid);
  Connection* connection = made.get();
  path->connections[wanted.cid] = std::move(made);
  ++path->live_connections;
  ++path->queue_pairs;
  usage_.AddConnection(path->peer());
  path->half_open_deadline = clock_->Now() + options_.half_open_timeout;
  SetTimer(path->half_open_deadline);

  wire::ConnectResponse response;
  response.queue_depth = static_cast<uint16_t>(options_.sess_queue_depth);
  response.max_io_size = options_.max_chunk_size - wire::kMaxHeaderSize;
  response.max_hdr_size = wire::kMaxHeaderSize;
  if (options_.always_invalidate) {
    response.flags = wire::ConnectResponse::kFlagNewRkey;
  }
  // Nothing new is said to a peer that has not said anything new.
  if (wanted.capabilities.bits != 0) {
    response.capabilities = options_.capabilities;
  }
  worker->PostTask([connection, request = std::move(request),
                    bytes = wire::Encode(response),
                    &options = options_]() mutable {
    connection->Accept(std::move(request), bytes, options);
  });
}

}  // namespace rtrs::server
