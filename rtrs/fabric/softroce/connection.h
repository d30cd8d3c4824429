// One connection of the InfiniBand connection manager, either side: REQ, REP,
// RTU; REJ; MRA; DREQ, DREP; resending, duplicates, time-wait. roce.md §11.1.
//
// A single-threaded state machine without I/O. What it wants to send goes to
// its CmOutput; what happened is returned as a CmOutcome. It knows nothing of
// queue pairs: the owner moves them when the outcome says so.
#ifndef RTRS_FABRIC_SOFTROCE_CONNECTION_H_
#define RTRS_FABRIC_SOFTROCE_CONNECTION_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "rtrs/fabric/softroce/cm_messages.h"

namespace rtrs::softroce {

class CmOutput {
 public:
  virtual ~CmOutput() = default;
  // Sends a datagram to queue pair 1 of the connection's peer.
  virtual void SendCm(const CmDatagram& datagram) = 0;
};

enum class CmState : uint8_t {
  kIdle,
  kReqSent,      // active: REQ is out, nothing came back yet
  kMraReceived,  // active: the peer asked for more time
  kReqReceived,  // passive: the consumer has not answered yet
  kRepSent,      // passive: REP is out, RTU not here yet
  kEstablished,
  kDreqSent,  // we leave; DREP not here yet
  kTimeWait,  // over; late duplicates are still answered
  kClosed,    // over; may be destroyed
};
const char* CmStateName(CmState state);

enum class CmOutcome : uint8_t {
  kNone,
  kReplied,       // active: REP came (see rep()); the RTU is on its way
  kEstablished,   // passive: the peer is ready
  kRejected,      // active: see rej()
  kTimedOut,      // active: nobody answered; passive: no RTU
  kDisconnected,  // the peer left, or our DREQ was answered or given up
};

class Connection {
 public:
  static constexpr absl::Duration kFirstResend = absl::Milliseconds(250);
  static constexpr absl::Duration kMaxResend = absl::Seconds(4);
  static constexpr int kMaxReps = 15;
  static constexpr int kMaxDreqs = 5;
  static constexpr absl::Duration kTimeWaitSpan = absl::Seconds(2);
  // How long a consumer may take to answer, in an MRA: 4.096 us * 2^20.
  static constexpr uint8_t kServiceTimeout = 20;

  // `output` outlives it.
  explicit Connection(CmOutput* output) : output_(output) {}

  // Active side. Gives up at `deadline`.
  void SendReq(const CmReq& req, uint64_t transaction_id, absl::Time now,
               absl::Time deadline);
  // Passive side: `req` arrived. Then exactly one of Accept and Reject.
  void OnReq(const CmReq& req, uint64_t transaction_id, uint32_t local_comm_id);
  void Accept(const CmRep& rep, absl::Time now);
  void Reject(RejectReason reason, absl::Span<const uint8_t> private_data,
              absl::Time now);
  // Either side, in any state.
  CmOutcome Disconnect(absl::Time now);

  // A message of this connection. Duplicates are answered as the state says.
  CmOutcome OnMessage(const CmDatagram& datagram, absl::Time now);
  // A packet arrived on the queue pair: as good as an RTU.
  CmOutcome OnTraffic();
  CmOutcome OnTimer(absl::Time now);
  absl::Time NextDeadline() const { return deadline_; }

  CmState state() const { return state_; }
  uint32_t local_comm_id() const { return local_id_; }
  uint32_t remote_comm_id() const { return remote_id_; }
  const CmReq& req() const { return req_; }
  const CmRep& rep() const { return rep_; }  // active, from kReplied on
  const CmRej& rej() const { return rej_; }  // active, after kRejected

 private:
  void Move(CmState state);
  void Send(const CmMessage& message, uint64_t transaction_id);
  // Sends `message` now and again until it is answered.
  void SendAgain(const CmMessage& message, uint64_t transaction_id,
                 absl::Time now);
  void EnterTimeWait(absl::Time now);
  CmOutcome OnRep(const CmRep& rep);
  CmOutcome OnRej(const CmRej& rej, absl::Time now);
  CmOutcome OnDreq(const CmDatagram& datagram, absl::Time now);

  CmOutput* const output_;
  CmState state_ = CmState::kIdle;
  uint32_t local_id_ = 0;
  uint32_t remote_id_ = 0;
  uint32_t remote_qpn_ = 0;
  uint64_t transaction_id_ = 0;
  CmReq req_;
  CmRep rep_;
  CmRej rej_;
  std::optional<CmDatagram> last_;  // sent last, for duplicates
  absl::Duration resend_ = kFirstResend;
  int sends_ = 0;
  absl::Time give_up_ = absl::InfiniteFuture();
  absl::Time deadline_ = absl::InfiniteFuture();
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_CONNECTION_H_
