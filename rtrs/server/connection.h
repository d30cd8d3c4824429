// One connection of a path: its queue pair, the requests that came on it and
// their responses. wire.md §4.
//
// Owned by its path; made on the control worker, then used on its own worker's
// thread only (state() may be read anywhere). Data path: nothing here
// allocates, locks or logs between a request and its response.
#ifndef RTRS_SERVER_CONNECTION_H_
#define RTRS_SERVER_CONNECTION_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/server/notice_queue.h"
#include "rtrs/server/operation.h"
#include "rtrs/server/port.h"
#include "rtrs/server/request.h"
#include "rtrs/server/send_wr_id.h"

namespace rtrs::server {

class Handler;
class Path;
class WorkerImpl;
struct ServerOptions;

enum class ConnectionState {
  kNew,       // waits for its worker to accept it
  kOpen,      // accepted, receives posted: messages may arrive
  kFailed,    // an error was seen; the path has been asked to close
  kLeaving,   // told to close; the queue pair disconnects
  kDraining,  // no queue pair any more; requests run in the layer above
  kGone,      // nothing is left; the path may be destroyed
};
const char* ConnectionStateName(ConnectionState state);

class Connection {
 public:
  Connection(Path* path, WorkerImpl* worker, Handler* handler, uint16_t cid);
  ~Connection();

  uint16_t cid() const { return cid_; }
  WorkerImpl* worker() const { return worker_; }
  ConnectionState state() const {
    return state_.load(std::memory_order_acquire);
  }

  // Makes the queue pair, posts its receives and accepts; on failure rejects
  // `request` and asks the path to close.
  void Accept(std::unique_ptr<fabric::ConnectRequest> request,
              absl::Span<const uint8_t> private_data,
              const ServerOptions& options);
  // The path stops: reports to Control::PostIdle once no request is left.
  void Stop();
  // The path closes: disconnects, lets running requests finish and reports
  // to Control::PostRetired, then to Control::PostGone.
  void Close();
  // As Close, or after it: gives up the queue pair without waiting for the
  // peer.
  void Abort();

  // From the worker.
  void HandleCompletion(const fabric::WorkCompletion& wc);
  void HandleEvent(const fabric::CmEvent& event);
  void GiveUpWaiting();     // the peer does not answer the disconnect
  void DestroyQueuePair();  // end of a round: no completion of it is in use

  // From the layer above, through the operation.
  void CompleteRequest(Operation* op, int error);

  // cid 0: posts the INFO_RSP.
  absl::Status SendInfoResponse(const fabric::Sge& message);
  // cid 0: the same with a first rkey for each chunk, with always_invalidate.
  absl::Status BindAllChunks();
  // cid 0: sends a heartbeat, or its acknowledgement, when there is room.
  void SendHeartbeat(bool ack);
  // cid 0: answers a FENCE, when there is room.
  void SendFenceDone(uint32_t imm);
  // cid 0: sends a NOTICE, when there is room and the last one has come.
  void SendNotice(uint32_t payload);

 private:
  void Move(ConnectionState to, absl::string_view why);
  // An error of the path: asks the control worker to close it.
  void Fail(absl::string_view why);
  // As Fail, for what only a faulty or hostile client does.
  void ProtocolError(absl::string_view why);
  absl::Status SetUp(std::unique_ptr<fabric::ConnectRequest>* request,
                     absl::Span<const uint8_t> private_data,
                     const ServerOptions& options);

  void HandleReceive(const fabric::WorkCompletion& wc);
  void HandleImmediate(uint32_t imm);
  void HandleIoRequest(uint32_t imm);
  // The chunk's rkey ends; when it has, StartRequest.
  void Invalidate(Operation* op);
  void HandleInvalidation();
  // Reads the header and hands the request on.
  void StartRequest(Operation* op);
  void RunRequest(Operation* op);
  // Work requests of what comes next for `op`.
  uint32_t NextWrs(const Operation& op) const;
  // Now if the send queue has room, else when it has.
  void SendOrWait(Operation* op);
  void SendNext(Operation* op);
  void SendResponse(Operation* op);
  void SendWaiting();
  void SendNextNotice();
  void SendImmediate(uint32_t imm);  // when there is room
  // Gives the record and the chunk back; the response is posted or dropped.
  void ReleaseOperation(Operation* op);
  // Gives the record of a request back that was not started.
  void ForgetRequest(Operation* op);
  void DropRequest(Operation* op);
  void Leave();
  void MakeReapable();
  void ReportIfIdle();
  void ReportIfGone();

  bool SendRoom(uint32_t count) const {
    return send_posted_ - send_done_ + count <= send_depth_;
  }
  // Posts `list`, signalling it if it is time to; at least so often that a
  // full send queue always holds a signalled request.
  absl::Status PostChain(absl::Span<fabric::SendWr> list);
  absl::StatusOr<uint32_t> PostBind(fabric::BindWr wr, WrKind kind);

  Path* const path_;
  WorkerImpl* const worker_;
  Handler* const handler_;
  const uint16_t cid_;
  Port* const port_;
  std::atomic<ConnectionState> state_{ConnectionState::kNew};
  std::unique_ptr<fabric::QueuePair> qp_;
  Port::Cq* cq_ = nullptr;
  uint32_t cq_entries_ = 0;
  bool disconnected_ = false;  // kDisconnected was delivered
  bool reapable_ = false;      // the worker will destroy the queue pair
  bool stopping_ = false;      // reports when no request is left

  uint32_t send_depth_ = 0;
  uint32_t signal_interval_ = 1;
  uint32_t unsignalled_ = 0;
  uint64_t send_posted_ = 0;  // work requests, ever
  uint64_t send_done_ = 0;    // of those, known to have left the queue
  bool heartbeat_waits_ = false;
  bool heartbeat_ack_waits_ = false;
  std::vector<uint32_t> fence_answers_;  // that wait for room
  NoticeQueue notices_;                  // cid 0
  // What the send queue has no room for: responses, and invalidations of
  // requests that have not started. Oldest first.
  OperationList waiting_;
  // Invalidations that have been posted, in the order of the send queue.
  OperationList invalidating_;
  // Requests from receive to response.
  uint32_t inflight_ = 0;
  uint32_t queue_depth_ = 0;
  int mem_bits_ = 0;
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_CONNECTION_H_
