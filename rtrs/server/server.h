// The RTRS server engine: listeners, sessions, paths, chunks, requests.
// wire.md §1-§5.
//
// Worker 0 is the control worker: it listens, serves cid 0 of every path
// (INFO_REQ, heartbeats, RNBD's control messages) and alone changes sessions
// and paths, so that these need no lock. The other connections are spread over
// all workers; each belongs to one worker, which owns its queue pair and
// handles its requests from receive to response. Shared between workers is one
// owner word per chunk. Workers have no threads of their own: WorkerThread
// (worker_thread.h) gives them one each; tests step them by hand in one thread.
#ifndef RTRS_SERVER_SERVER_H_
#define RTRS_SERVER_SERVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/server/request.h"
#include "rtrs/wire/capabilities.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::server {

struct ServerOptions {
  // Chunks of a session.
  uint32_t sess_queue_depth = wire::kDefaultQueueDepth;
  // Bytes, whole pages of 4096, at least two. The kernel's default is 131072,
  // which leaves 124 KiB for data and splits what comes in pieces of 128 KiB.
  uint32_t max_chunk_size = (128 << 10) + wire::kMaxHeaderSize;
  uint32_t workers = 1;
  // A chunk's rkey dies when a request for it arrives, and the response brings
  // a fresh one (wire.md §2.4): needs fabrics with memory windows.
  bool always_invalidate = false;
  wire::Capabilities capabilities;  // that we announce
  // Limits, checked before anything is allocated (design decision 7).
  uint32_t max_sessions = 256;
  uint32_t max_sessions_per_peer = 64;  // by client address
  uint32_t max_paths_per_peer = 256;
  uint32_t max_connections = 65536;
  uint32_t max_connections_per_peer = 8192;
  uint64_t max_memory = 16ull << 30;  // bytes of chunks, in all
  absl::Duration half_open_timeout = absl::Seconds(30);  // connect to INFO_REQ
  absl::Duration heartbeat_interval = absl::Seconds(5);
  int heartbeat_missed_max = 5;
  // Shutdown: for requests that run to be answered.
  absl::Duration stop_timeout = absl::Seconds(10);
};
// The kernel's rules: bits(depth-1)+bits(chunk-1) <= 28 and so on. The error
// names the parameter and the value.
absl::Status CheckServerOptions(const ServerOptions& options);
// Whether the device can serve with these options; the error names both.
absl::Status CheckDevice(const ServerOptions& options,
                         const fabric::DeviceAttr& device);

// A session as the layer above sees it: from OnSessionUp to OnSessionDown.
class Session {
 public:
  virtual const std::string& name() const = 0;
  // All chunks, contiguous: queue_depth * chunk_size bytes.
  virtual absl::Span<uint8_t> chunk_memory() const = 0;
  virtual uint32_t chunk_size() const = 0;
  virtual wire::Capabilities client_capabilities() const = 0;
  virtual const SocketAddress& peer_address() const = 0;  // of the first path
  // Closes all paths, for an administrator. Any thread.
  virtual void Disconnect() = 0;
  // Sends a NOTICE (wire/immediate.h) with `payload`, of 28 bits, on all paths
  // that are up, if both ends announced it; else does nothing. May be lost: to
  // be called again until the client shows that it knows. Any thread.
  virtual void SendNotice(uint32_t payload) = 0;
  void* context = nullptr;  // of the layer above

 protected:
  ~Session() = default;
};

// The layer above.
class Handler {
 public:
  virtual ~Handler() = default;
  // The first path of a session is up; on worker 0, before any request of the
  // session. An error closes it.
  virtual absl::Status OnSessionUp(Session* session) = 0;
  // The last path is gone and every request has completed; on worker 0. The
  // session must not be used any more when this returns.
  virtual void OnSessionDown(Session* session) = 0;
  // On the worker of the connection that it came on.
  virtual void OnRequest(Request* request) = 0;
};

// An I/O engine that a worker drives beside its fabric channel (io_uring).
class WorkerHook {
 public:
  virtual ~WorkerHook() = default;
  // Submits and reaps; true if anything happened. Called once per round, after
  // requests were handled and before responses are flushed.
  virtual bool Progress() = 0;
  // Operations in flight whose completion Progress will find.
  virtual size_t in_flight() const = 0;
  // Readable when Progress would find something, provided Arm returned true.
  virtual int fd() const = 0;
  virtual bool Arm() = 0;
};

class Worker {
 public:
  virtual int index() const = 0;
  // Runs `task` on this worker's thread soon. Any thread.
  virtual void Post(std::function<void()> task) = 0;
  // Before the worker first runs. Borrowed.
  virtual void AddHook(WorkerHook* hook) = 0;
  // One round without blocking; true if anything happened.
  virtual bool Progress() = 0;
  // Taken from completion queues by all rounds so far.
  virtual uint64_t completions() const = 0;
  // Sleeping: fd() is readable when there is work, if Arm returned true.
  virtual int fd() const = 0;
  virtual bool Arm() = 0;
  virtual absl::Time NextDeadline() const = 0;

 protected:
  ~Worker() = default;
};

class Server {
 public:
  // `fabrics`: at least one. Everything borrowed outlives the server.
  static absl::StatusOr<std::unique_ptr<Server>> Create(
      std::vector<fabric::Fabric*> fabrics, Clock* clock, Random* random,
      ServerOptions options, Handler* handler);
  // After every worker stopped. Drops what Shutdown did not close.
  virtual ~Server() = default;

  // Listens on every fabric. Before workers run, or on worker 0's thread.
  // Returns the address in use (the real port when 0 was asked for).
  virtual absl::StatusOr<SocketAddress> Listen(
      const SocketAddress& address) = 0;

  virtual Worker* worker(int index) = 0;
  virtual int worker_count() const = 0;

  // Stops listening and taking requests, answers those that run, closes all
  // sessions; `done` runs on worker 0 when none is left. Any thread.
  virtual void Shutdown(std::function<void()> done) = 0;

  struct Stats {
    uint64_t sessions = 0;
    uint64_t paths = 0;
    uint64_t connections = 0;
    uint64_t chunk_bytes = 0;
    uint64_t rejected_connects = 0;
    uint64_t protocol_errors = 0;
  };
  virtual Stats stats() const = 0;  // any thread
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_SERVER_H_
