#include "rtrs/server/usage.h"

#include <errno.h>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"

namespace rtrs::server {
namespace {

absl::Status OverLimit(absl::string_view name, uint64_t limit) {
  return ErrnoError(ENOMEM, absl::StrCat("limit ", name, "=", limit));
}

}  // namespace

absl::Status Usage::Check(const SocketAddress& peer, Demand demand) const {
  PeerUsage used;
  if (auto it = peers_.find(peer.HostString()); it != peers_.end()) {
    used = it->second;
  }
  if (demand.session) {
    if (sessions_ >= options_.max_sessions) {
      return OverLimit("max_sessions", options_.max_sessions);
    }
    if (used.sessions >= options_.max_sessions_per_peer) {
      return OverLimit("max_sessions_per_peer", options_.max_sessions_per_peer);
    }
    const uint64_t bytes = chunk_bytes();
    if (bytes > options_.max_memory ||
        options_.max_memory - bytes < SessionBytes()) {
      return OverLimit("max_memory", options_.max_memory);
    }
  }
  if (demand.path && used.paths >= options_.max_paths_per_peer) {
    return OverLimit("max_paths_per_peer", options_.max_paths_per_peer);
  }
  if (connections_ >= options_.max_connections) {
    return OverLimit("max_connections", options_.max_connections);
  }
  if (used.connections >= options_.max_connections_per_peer) {
    return OverLimit("max_connections_per_peer",
                     options_.max_connections_per_peer);
  }
  return absl::OkStatus();
}

void Usage::Trim(const std::string& key) {
  auto it = peers_.find(key);
  const PeerUsage& used = it->second;
  if (used.sessions == 0 && used.paths == 0 && used.connections == 0) {
    peers_.erase(it);
  }
}

void Usage::AddSession(const SocketAddress& peer) {
  ++peers_[peer.HostString()].sessions;
  ++sessions_;
}

void Usage::RemoveSession(const SocketAddress& peer) {
  const std::string key = peer.HostString();
  --peers_[key].sessions;
  --sessions_;
  Trim(key);
}

void Usage::AddPath(const SocketAddress& peer) {
  ++peers_[peer.HostString()].paths;
  ++paths_;
}

void Usage::RemovePath(const SocketAddress& peer) {
  const std::string key = peer.HostString();
  --peers_[key].paths;
  --paths_;
  Trim(key);
}

void Usage::AddConnection(const SocketAddress& peer) {
  ++peers_[peer.HostString()].connections;
  ++connections_;
}

void Usage::RemoveConnection(const SocketAddress& peer) {
  const std::string key = peer.HostString();
  --peers_[key].connections;
  --connections_;
  Trim(key);
}

}  // namespace rtrs::server
