// The control side of the server: decides about connect requests and INFO_REQ,
// owns sessions and paths, runs their timers and takes them down. wire.md
// §1.5, §2, §5.1, §5.4.
//
// Lives on worker 0 with all connections of cid 0, so that sessions, paths and
// their states have one writer and need no lock. Other workers reach it by the
// Post functions only.
//
// A path ends in steps: closing, until its connections have left or the client
// shows that it has left; retired, when no queue pair is left, so that nothing
// of the client can reach us through it and a path of the same name may take
// its place; gone, when the requests that it brought have ended above.
#ifndef RTRS_SERVER_CONTROL_H_
#define RTRS_SERVER_CONTROL_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/uuid.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/server/path.h"
#include "rtrs/server/server.h"
#include "rtrs/server/session_impl.h"
#include "rtrs/server/usage.h"
#include "rtrs/server/worker.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::server {

// The private data of a rejection with `error`, a positive errno.
std::array<uint8_t, wire::ConnectResponse::kSize> EncodeRejection(int error);

class Control {
 public:
  // All borrowed; `workers` with worker 0 in front.
  Control(const ServerOptions& options, Clock* clock, Handler* handler,
          std::vector<fabric::Fabric*> fabrics,
          std::vector<WorkerImpl*> workers);
  ~Control();

  // Worker 0:
  void OnConnectRequest(size_t port,
                        std::unique_ptr<fabric::ConnectRequest> request);
  // An INFO_REQ came on cid 0 of `path`. Answers it; an error means that the
  // path has to close.
  absl::Status OnInfoRequest(Path* path, absl::Span<const uint8_t> message);
  // Whether both ends of `session` announced `capability`.
  bool Has(const SessionImpl& session, uint32_t capability) const {
    return options_.capabilities.Has(capability) &&
           session.client_capabilities().Has(capability);
  }
  // A FENCE came on cid 0 of `asker`. Answers it when that can be; an error
  // means that `asker` has to close.
  absl::Status OnFence(Path* asker, uint32_t imm);
  // Runs the timers that are due; false if there was none.
  bool Tick();
  absl::Time NextDeadline() const { return next_timer_; }
  // Refuses connects from now on and closes everything; `done` runs when no
  // session is left.
  void Shutdown(std::function<void()> done);

  // Any thread:
  void PostClose(Path* path, std::string why);
  // From each connection of `path` in turn: no request is left although it
  // stops; its queue pair is gone; nothing is left of it.
  void PostIdle(Path* path);
  void PostRetired(Path* path);
  void PostGone(Path* path);
  void CountProtocolError() {
    protocol_errors_.fetch_add(1, std::memory_order_relaxed);
  }
  Server::Stats stats() const;

 private:
  struct Decision;
  // The checks of §1.5 in their order, and the limits.
  Decision Decide(const wire::ConnectRequest& wanted, size_t port,
                  const SocketAddress& local, const SocketAddress& peer);
  Decision DecideKnownPath(Path* path, const wire::ConnectRequest& wanted);
  // Keeps `request` until `path` is retired, which it has to be soon.
  void HoldUntilRetired(Path* path, size_t port,
                        std::unique_ptr<fabric::ConnectRequest> request);
  // Makes the path, and the session if there is none yet.
  absl::StatusOr<Path*> AddPath(SessionImpl* session,
                                const wire::ConnectRequest& wanted, size_t port,
                                const SocketAddress& local,
                                const SocketAddress& peer);
  absl::StatusOr<SessionImpl*> AddSession(const wire::ConnectRequest& wanted,
                                          const SocketAddress& peer);
  void AddConnection(Path* path, const wire::ConnectRequest& wanted,
                     std::unique_ptr<fabric::ConnectRequest> request);
  // cid 0 stays here; the others go where the fewest are.
  size_t ChooseWorker(uint16_t cid);

  absl::Status CheckAllOpen(const Path& path) const;
  absl::Status SetName(SessionImpl* session, const std::string& name);
  absl::Status PathUp(Path* path);
  void ClosePath(Path* path, absl::string_view why);
  // As ClosePath, without waiting for the client.
  void AbortPath(Path* path, absl::string_view why);
  bool BeginClose(Path* path, absl::string_view why);
  void TellConnections(Path* path, void (Connection::*what)());
  void StopPath(Path* path);
  void RetirePath(Path* path);
  // `gone` is about to be removed.
  void AnswerFences(SessionImpl* session, Path* gone);
  void RemovePath(Path* path);
  void DisconnectSession(const Uuid& uuid);
  void SendNotice(const Uuid& uuid, uint32_t payload);
  void TickPath(Path* path, absl::Time now);
  void SetTimer(absl::Time at);

  const ServerOptions& options_;
  Clock* const clock_;
  Handler* const handler_;
  const std::vector<fabric::Fabric*> fabrics_;
  const std::vector<WorkerImpl*> workers_;
  std::vector<uint32_t> load_;  // connections but cid 0, by worker
  Usage usage_;
  // Ordered, so that a simulation repeats.
  std::map<Uuid, std::unique_ptr<SessionImpl>> sessions_;
  absl::Time next_timer_ = absl::InfiniteFuture();
  bool shutting_down_ = false;
  std::function<void()> on_shutdown_;
  std::atomic<uint64_t> rejected_connects_{0};
  std::atomic<uint64_t> protocol_errors_{0};
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_CONTROL_H_
