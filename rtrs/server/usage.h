// What sessions, paths and connections cost, in all and per peer address, held
// against the limits of ServerOptions before anything is allocated (design
// decision 7).
//
// Changed on the control worker only; the totals may be read by any thread.
#ifndef RTRS_SERVER_USAGE_H_
#define RTRS_SERVER_USAGE_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/server/server.h"

namespace rtrs::server {

class Usage {
 public:
  // `options` outlives this.
  explicit Usage(const ServerOptions& options) : options_(options) {}

  // What a connect request asks for.
  struct Demand {
    bool session = false;
    bool path = false;
  };
  // ENOMEM, with the name of the limit, when one more connection of `peer`
  // (with its new session or path) would go over it.
  absl::Status Check(const SocketAddress& peer, Demand demand) const;

  // Each Add has its Remove with the same peer.
  void AddSession(const SocketAddress& peer);
  void RemoveSession(const SocketAddress& peer);
  void AddPath(const SocketAddress& peer);
  void RemovePath(const SocketAddress& peer);
  void AddConnection(const SocketAddress& peer);
  void RemoveConnection(const SocketAddress& peer);

  uint64_t sessions() const { return sessions_; }
  uint64_t paths() const { return paths_; }
  uint64_t connections() const { return connections_; }
  uint64_t chunk_bytes() const { return sessions_ * SessionBytes(); }

 private:
  struct PeerUsage {
    uint32_t sessions = 0;
    uint32_t paths = 0;
    uint32_t connections = 0;
  };
  uint64_t SessionBytes() const {
    return uint64_t{options_.sess_queue_depth} * options_.max_chunk_size;
  }
  // Forgets the peer when it holds nothing any more.
  void Trim(const std::string& key);

  const ServerOptions& options_;
  std::atomic<uint64_t> sessions_{0};
  std::atomic<uint64_t> paths_{0};
  std::atomic<uint64_t> connections_{0};
  absl::flat_hash_map<std::string, PeerUsage> peers_;  // by host
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_USAGE_H_
