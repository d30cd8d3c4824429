// The sending half of an RC queue pair: work requests become packets, and
// acknowledgements become completions. roce.md §6, §8, §17.
//
// A single-threaded state machine without I/O. Post queues work requests;
// NextPacket yields packets as window and timers allow; OnAck, OnNak and
// OnTimer move it. It refers to the posted memory until a request is
// acknowledged, because any packet may have to be sent again.
//
// Rules against flooding (§17: peers do go-back-N, so a lost packet costs all
// that follow): at most `window` unacknowledged packets, an acknowledgement
// asked for every kAckEvery packets, the window halved by a sequence NAK or a
// time-out and opened by one packet for each window acknowledged; the
// retransmission time-out follows the measured round trip, and doubles with
// each time-out until a round trip was measured again (RFC 6298, 5.5 to 5.7); a
// tail that nobody acknowledged is probed with its last packet after two round
// trips.
#ifndef RTRS_FABRIC_SOFTROCE_REQUESTER_H_
#define RTRS_FABRIC_SOFTROCE_REQUESTER_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/fabric/work_request.h"

namespace rtrs::softroce {

// One packet to send: headers by value, payload as pieces of posted memory
// that stay valid until the next call of the requester.
struct TxPacket {
  Bth bth;
  const OpcodeInfo* info = nullptr;
  Reth reth;
  uint32_t imm = 0;
  uint32_t invalidate_rkey = 0;
  absl::Span<const fabric::Sge> payload;
  uint32_t payload_length = 0;
};

// A finished send request.
struct SendCompletion {
  uint64_t wr_id = 0;
  fabric::WcStatus status = fabric::WcStatus::kSuccess;
  fabric::WcOpcode opcode = fabric::WcOpcode::kSend;
  bool deliver = false;  // signalled, or an error
};

struct RequesterOptions {
  uint32_t dest_qpn = 0;
  uint32_t first_psn = 0;  // that the peer expects
  uint32_t mtu = 1024;     // payload bytes of a packet
  uint32_t window = 128;   // packets
  uint8_t retry_count = 7;
  uint8_t rnr_retry_count = 7;  // 7: for ever
  absl::Duration min_timeout = absl::Milliseconds(4);
  absl::Duration max_timeout = absl::Milliseconds(500);
  // No retry count ends the connection sooner after the last progress.
  absl::Duration patience = absl::ZeroDuration();
};

struct RequesterStats {
  uint64_t packets = 0;
  uint64_t retransmitted = 0;
  uint64_t sequence_naks = 0;
  uint64_t rnr_naks = 0;
  uint64_t timeouts = 0;
  uint64_t probes = 0;
};

class Requester {
 public:
  static constexpr uint32_t kAckEvery = 16;  // packets
  static constexpr uint32_t kMinWindow = 4;  // packets
  static constexpr int kMaxBackoff = 7;

  explicit Requester(const RequesterOptions& options);

  // Queues `wr`. Lengths and keys were checked by the caller; with kInline the
  // data is copied now.
  void Post(const fabric::SendWr& wr);

  // Queues a request that sends nothing and completes in its turn.
  void PostLocal(uint64_t wr_id, uint8_t flags);

  // The next packet that may be sent now; false if there is none (or the
  // window is full, or a peer without receives asked to wait).
  bool NextPacket(absl::Time now, TxPacket* out);

  // A positive acknowledgement of all packets up to `psn`.
  void OnAck(uint32_t psn, absl::Time now);
  // A negative one with this syndrome (RNR or kNak*).
  void OnNak(uint8_t syndrome, uint32_t psn, absl::Time now);
  // Call at NextDeadline.
  void OnTimer(absl::Time now);
  absl::Time NextDeadline() const { return deadline_; }

  // Ends everything that is queued with kFlushed; nothing is sent any more.
  void Flush();
  // As an error of the oldest request: `status` for it, the rest is flushed.
  void Abort(fabric::WcStatus status) { Fail(status); }

  // Takes the oldest finished request; false if there is none.
  bool NextCompletion(SendCompletion* out);
  // An unrecoverable error happened: the queue pair goes to the error state.
  bool failed() const { return failed_; }
  fabric::WcStatus failure() const { return failure_; }  // when failed
  // Requests not yet completed.
  size_t pending() const { return requests_.size(); }
  bool idle() const { return requests_.empty(); }
  const RequesterStats& stats() const { return stats_; }

 private:
  struct Request {
    fabric::SendWr wr;
    std::vector<fabric::Sge> sges;
    std::vector<uint8_t> inline_data;
    uint64_t length = 0;
    uint32_t first_psn = 0;
    uint32_t packets = 1;  // 0: local
  };

  // Where the next packet comes from: request and packet in it.
  void Rewind(uint32_t psn);
  void Fill(const Request& request, uint32_t index, TxPacket* out);
  void FillProbe(TxPacket* out);
  void Finish(fabric::WcStatus status);
  void Fail(fabric::WcStatus status);
  void ShrinkWindow();
  void Restart(absl::Time now);
  absl::Duration Timeout() const;
  void MeasureRoundTrip(absl::Time now, uint32_t acked_psn);

  const RequesterOptions options_;
  std::deque<Request> requests_;
  std::deque<SendCompletion> completions_;
  std::vector<fabric::Sge> pieces_;  // payload of the packet handed out last
  uint32_t una_;                     // oldest unacknowledged PSN
  uint32_t next_;                    // PSN of the next packet to send
  uint32_t sent_;                    // one past the newest PSN ever sent
  uint32_t end_;                     // one past the last queued PSN
  size_t cursor_ = 0;                // index in requests_ of next_
  double window_;                    // packets
  uint32_t since_ack_request_ = 0;
  int retries_ = 0;  // since the last progress
  int backoff_ = 0;  // time-outs since the last measurement
  int rnr_retries_ = 0;
  absl::Time progress_;  // the last; since the oldest packet is under way
  bool failed_ = false;
  fabric::WcStatus failure_ = fabric::WcStatus::kFlushed;
  bool sequence_nak_seen_ = false;  // until there is progress
  bool probed_ = false;             // since the last progress
  bool probe_due_ = false;          // to be sent next
  bool paused_ = false;             // the peer had no receive, until resume_
  absl::Time resume_ = absl::InfinitePast();  // RNR: not before
  absl::Time deadline_ = absl::InfiniteFuture();
  // One packet is timed at a time; not after a retransmission (Karn). A probe
  // is none: who acknowledges what came before it has got that the first time,
  // and a lost tail only makes the round trip look longer than it is.
  bool timing_ = false;
  uint32_t timed_psn_ = 0;
  absl::Time timed_at_;
  absl::Duration srtt_ = absl::ZeroDuration();
  absl::Duration rttvar_ = absl::ZeroDuration();
  RequesterStats stats_;
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_REQUESTER_H_
