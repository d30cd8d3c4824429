// One path of a client session: its connections, the table of chunk addresses
// and rkeys, and its heartbeat. wire.md §1, §2, §4-§5.
//
// A state machine of its own; the unit of failure. Owned and driven by the
// session, one thread. A path never calls back while it is torn down: it says
// what it wants by its state, and the session looks at it after every step.
#ifndef RTRS_CLIENT_PATH_H_
#define RTRS_CLIENT_PATH_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "rtrs/base/path_spec.h"
#include "rtrs/base/uuid.h"
#include "rtrs/client/connection.h"
#include "rtrs/client/data_memory.h"
#include "rtrs/client/heartbeat.h"
#include "rtrs/client/options.h"
#include "rtrs/client/path_limits.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/wire/immediate.h"

namespace rtrs::client {

enum class PathState : uint8_t {
  kIdle,        // not started, or torn down and free to start again
  kConnecting,  // connections are made one after another, cid 0 first
  kInfo,        // all connections are up, INFO_REQ is out
  kConnected,   // requests may use it
  kClosing,     // disconnected by us, in order; the peer has still to leave
  kFailed,      // broken; to be torn down before anything else happens
  kClosed,      // no queue pair is left; why() says the reason
};
const char* PathStateName(PathState state);

class Path;

// The session, as a path sees it.
class PathHost {
 public:
  virtual ~PathHost() = default;
  // `path` has its limits and its chunks and is about to be connected. An
  // error means that it does not fit the session: the path fails.
  virtual absl::Status OnPathReady(const Path& path) = 0;
  // A response arrived on connection `cid`. An error means that it answers
  // nothing that is in flight there: the path fails.
  virtual absl::Status OnResponse(Path* path, uint16_t cid,
                                  const wire::IoResponseImm& response) = 0;
  // The send of the request with `permit` completed: its memory is not read
  // any more.
  virtual void OnSendCompletion(Path* path, uint32_t permit) = 0;
  // The server confirmed over `path` that another one is fenced.
  virtual void OnFenceDone(Path* path, const wire::FenceImm& fence) = 0;
  // The server has a NOTICE for the layer above.
  virtual void OnNotice(uint32_t payload) = 0;
};

// A request ready to be sent.
struct OutgoingRequest {
  const Request* request = nullptr;
  uint32_t permit = 0;
  const DataBuffer* data = nullptr;
  // Slot of the permit: holds the user message, with room behind it.
  uint8_t* header = nullptr;
  uint32_t header_lkey = 0;
  bool own_completion = false;  // calls OnSendCompletion
};

class Path {
 public:
  // What all paths of a session share; outlives them.
  struct Env {
    fabric::EventChannel* channel = nullptr;
    fabric::ProtectionDomain* pd = nullptr;
    fabric::DeviceAttr device;
    const SessionOptions* options = nullptr;
    Uuid paths_uuid{};
    PathHost* host = nullptr;
  };

  Path(const Env* env, PathSpec spec, const Uuid& sess_uuid);
  ~Path();

  // kIdle or kClosed to kConnecting. `first`: the server may make a new
  // session (first_conn of wire.md §1.3). A path of a session that is up
  // comes without, also when it is connected again (the kernel's does not): a
  // server that was restarted must not mix it with paths to its past life.
  void Start(bool first, absl::Time now);
  // Leaves in order: to kClosing.
  void Close(absl::Time now);
  // To kFailed, unless it is there or beyond.
  void Fail(const absl::Status& why);
  // Whether TearDown is due: failed, or the orderly close is through.
  bool MustTearDown(absl::Time now) const;
  // To kClosed: destroys all queue pairs. Afterwards no memory of a request of
  // this path is touched any more. Not while its completions are handled.
  void TearDown();

  void OnEvent(Connection* con, const fabric::CmEvent& event, absl::Time now);
  // Polls its completion queues; true if there was anything.
  bool Poll(absl::Time now);
  void OnTimer(absl::Time now);
  absl::Time deadline() const;

  // Whether Send would take `request` now.
  bool HasRoom(const Request& request) const {
    return ConnectionFor(request) != nullptr;
  }
  // Posts it (without the doorbell) and returns its cid. An error fails the
  // path.
  absl::StatusOr<uint16_t> Send(const OutgoingRequest& out);

  // Asks the server to fence another path of the session. False: there is no
  // room in the send queue now.
  bool SendFence(const wire::FenceImm& fence);

  PathState state() const { return state_; }
  bool first() const { return first_; }
  const Uuid& sess_uuid() const { return sess_uuid_; }
  // What a FENCE of this path as it is now says.
  wire::FenceImm fence_name() const {
    return {wire::FencePath(sess_uuid_), static_cast<uint8_t>(recon_cnt_)};
  }
  uint16_t connects() const { return recon_cnt_; }  // attempts, ever
  absl::Duration latency() const { return heartbeat_.latency(); }
  const absl::Status& why() const { return why_; }
  const PathSpec& spec() const { return spec_; }
  // Valid from the accept of cid 0 on.
  const PathLimits& limits() const { return limits_; }
  size_t in_flight() const { return in_flight_; }

 private:
  // The one function that moves the state.
  void SetState(PathState state);
  void ConnectNext(absl::Time now);
  void OnAccepted(Connection* con, const fabric::CmEvent& event,
                  absl::Time now);
  void StartInfoExchange(absl::Time now);
  void OnInfoResponse(uint32_t length, absl::Time now);

  void OnCompletion(const fabric::WorkCompletion& wc, absl::Time now);
  // `ok` receives of the two forms: SEND, and RDMA_WRITE_WITH_IMM.
  absl::Status OnMessage(Connection* con, const fabric::WorkCompletion& wc,
                         const WrId& id, absl::Time now);
  absl::Status OnImmediate(Connection* con, uint32_t imm, absl::Time now);
  absl::Status OnRkeyResponse(Connection* con, const uint8_t* bytes,
                              const fabric::WorkCompletion& wc);
  absl::Status Respond(Connection* con, const wire::IoResponseImm& response);
  absl::Status SendImmediate(uint32_t imm);
  absl::Status AfterPoll();

  uint32_t DepthOf(uint16_t cid) const;
  Connection* ConnectionFor(const Request& request) const;

  struct Chunk {
    uint64_t address;
    uint32_t rkey;
  };

  const Env* const env_;
  const PathSpec spec_;
  const Uuid sess_uuid_;
  PathState state_ = PathState::kIdle;
  absl::Status why_;
  bool first_ = false;
  uint16_t recon_cnt_ = 0;
  PathLimits limits_;
  Heartbeat heartbeat_;
  bool ack_due_ = false;  // a heartbeat of the peer is not answered yet
  std::optional<uint32_t> notice_due_;  // the NOTICE that is not answered yet
  absl::Time deadline_ = absl::InfiniteFuture();  // of the state
  size_t in_flight_ = 0;
  std::vector<Chunk> chunks_;
  RegisteredMemory info_memory_;  // INFO_REQ, then INFO_RSP
  // cid 0 has a queue of its own: it exists before the queue depth is known.
  std::unique_ptr<fabric::CompletionQueue> service_cq_;
  std::unique_ptr<fabric::CompletionQueue> io_cq_;
  // Those of Poll: to clear them in each round takes longer than the round.
  std::array<fabric::WorkCompletion, 64> polled_;
  std::vector<std::unique_ptr<Connection>> cons_;  // by cid
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_PATH_H_
