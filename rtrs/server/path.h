// A path: one client address to one of ours, named by its sess_uuid, with
// cid_num connections. The unit of failure: any connection that fails ends the
// whole path. wire.md §1.5, §5.
//
// Belongs to its session. The control worker makes it, moves its state and
// destroys it; workers read the state and use the operations of requests that
// came on their connections.
#ifndef RTRS_SERVER_PATH_H_
#define RTRS_SERVER_PATH_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/base/uuid.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/server/chunk_memory.h"
#include "rtrs/server/chunk_windows.h"
#include "rtrs/server/operation.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::server {

class Connection;
class Control;
class SessionImpl;

enum class PathState {
  kConnecting,  // connections come in; INFO_REQ has not been answered
  kConnected,   // serves requests, heartbeats run
  kStopping,    // shutdown: answers the requests it has, takes no new ones
  kClosing,     // connections leave, requests above run to their end
  kRetired,     // no queue pair is left: nothing of the client can reach us
                // any more; requests above run to their end
};
const char* PathStateName(PathState state);

class Path {
 public:
  // `port` is the index of the fabric on which the path came.
  static absl::StatusOr<std::unique_ptr<Path>> Create(
      SessionImpl* session, Control* control, size_t port,
      fabric::Fabric* fabric, const wire::ConnectRequest& request,
      const SocketAddress& local, const SocketAddress& peer);
  ~Path();

  // "client@server", for logs.
  const std::string& name() const { return name_; }
  const Uuid& uuid() const { return uuid_; }
  // Of its connections: how often the client has connected the path anew.
  uint16_t recon_cnt() const { return recon_cnt_; }
  // The client takes its session for one that is up already.
  bool joins_session() const { return joins_session_; }
  const SocketAddress& local() const { return local_; }
  const SocketAddress& peer() const { return peer_; }
  size_t port() const { return port_; }
  SessionImpl* session() const { return session_; }
  Control* control() const { return control_; }
  const ChunkRegistration& registration() const { return *registration_; }
  // None unless the server always invalidates.
  ChunkWindows* windows() const { return windows_.get(); }
  // Control worker, before the path connects.
  absl::Status MakeWindows();

  PathState state() const { return state_.load(std::memory_order_acquire); }
  // Control worker; the only place where the state changes.
  void Move(PathState to, absl::string_view why);

  // The record for chunk `buf_id`; only while connected or closing.
  Operation* operation(uint32_t buf_id) { return &operations_[buf_id]; }

  // Something was received on any connection: the peer lives.
  void NoteReception() {
    if (!alive_.load(std::memory_order_relaxed)) {
      alive_.store(true, std::memory_order_relaxed);
    }
  }

  // Memory for the messages of cid 0, registered.
  uint8_t* info_request() { return control_block_.data(); }
  uint8_t* info_response() {
    return control_block_.data() + wire::InfoRequest::kSize;
  }
  uint32_t control_lkey() const { return control_region_->lkey(); }

  bool closing() const { return state() >= PathState::kClosing; }
  // Responses may still be sent.
  bool Answers() const {
    const PathState now = state();
    return now == PathState::kConnected || now == PathState::kStopping;
  }

  // For the control worker.
  std::vector<std::unique_ptr<Connection>> connections;  // by cid; null: none
  uint32_t live_connections = 0;
  uint32_t queue_pairs = 0;       // connections that may have one
  uint32_t busy_connections = 0;  // kStopping: that have requests
  absl::Time stop_deadline;       // kStopping: closes then in any case
  // The client connects this path anew: cid 0 of the next one, to be looked at
  // when this one is retired.
  std::unique_ptr<fabric::ConnectRequest> successor;
  size_t successor_port = 0;
  bool was_up = false;  // counted in SessionImpl::up_paths
  absl::Time half_open_deadline;
  absl::Time next_heartbeat;

  // What a heartbeat tick asks for (wire.md §5.1).
  enum class Heartbeat { kNothing, kSend, kDead };
  Heartbeat HeartbeatTick(int missed_max);

 private:
  Path(SessionImpl* session, Control* control, size_t port,
       const wire::ConnectRequest& request, const SocketAddress& local,
       const SocketAddress& peer);

  SessionImpl* const session_;
  Control* const control_;
  const size_t port_;
  const Uuid uuid_;
  const uint16_t recon_cnt_;
  const bool joins_session_;
  const SocketAddress local_;
  const SocketAddress peer_;
  const std::string name_;
  const ChunkRegistration* registration_ = nullptr;
  std::unique_ptr<ChunkWindows> windows_;
  std::atomic<PathState> state_{PathState::kConnecting};
  std::atomic<bool> alive_{false};
  int missed_ = 0;
  // Allocated when the path connects: a half-open path costs little.
  std::unique_ptr<Operation[]> operations_;
  std::array<uint8_t, wire::InfoRequest::kSize +
                          wire::InfoResponse::kHeaderSize +
                          wire::Descriptor::kSize>
      control_block_{};
  std::unique_ptr<fabric::MemoryRegion> control_region_;
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_PATH_H_
