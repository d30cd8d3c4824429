// What arrives on a connection, segment by segment: the rules of order, where
// payload goes, which receive it completes. spec/iwarp.md §3.5, §4, §6.3.
//
// No I/O: the Receiver feeds it headers and asks for memory. One thread.
#ifndef RTRS_FABRIC_SOFTIWARP_INBOUND_H_
#define RTRS_FABRIC_SOFTIWARP_INBOUND_H_

#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "rtrs/fabric/region_table.h"
#include "rtrs/fabric/softiwarp/fpdu.h"
#include "rtrs/fabric/softiwarp/recv_queue.h"
#include "rtrs/fabric/softiwarp/terminate.h"

namespace rtrs::fabric::softiwarp {

class Inbound {
 public:
  enum class Verdict {
    kOk,
    kStalled,     // no receive is posted: ask again when one is
    kRefused,     // see refusal()
    kTerminated,  // the peer gave up: see terminate()
  };

  // Neither is owned; both outlive it.
  Inbound(RegionTable* table, uint32_t pd, RecvQueue* recvs)
      : table_(table), pd_(pd), recvs_(recvs) {}

  // Both ends are softiwarp: word 1 of an immediate has a meaning.
  void set_paired_immediates(bool on) { paired_immediates_ = on; }

  // A segment begins. `payload` is its whole payload for immediates and
  // Terminates (for a Terminate perhaps empty though the segment is not), and
  // is not looked at for others.
  Verdict Begin(const FpduHeader& header, absl::Span<const uint8_t> payload);
  // Memory for `length` bytes, `done` bytes behind the start of the payload of
  // the segment, pinned by `pin`; nullptr if it is gone: refused.
  uint8_t* Map(uint32_t done, uint32_t length, MrPin* pin);
  // The segment is complete.
  Verdict End();

  const Refusal& refusal() const { return refusal_; }
  const Terminate& terminate() const { return terminate_; }
  // No message has begun and not ended.
  bool at_boundary() const {
    return !in_message_ && !write_open_ && !pending_immediate_.has_value();
  }

 private:
  Verdict Refuse(TerminateCode code, bool with_header = true);
  Verdict CheckOrder(const FpduHeader& header);
  Verdict BeginTagged();
  Verdict BeginSend();
  Verdict BeginImmediate(absl::Span<const uint8_t> payload);
  Verdict EndSend();
  Verdict EndImmediate();

  RegionTable* table_;
  uint32_t pd_;
  RecvQueue* recvs_;
  bool paired_immediates_ = false;

  FpduHeader segment_;  // the one in progress
  Refusal refusal_;
  Terminate terminate_;
  int empty_run_ = 0;  // empty segments in a row that end no message

  // The untagged stream of queue 0.
  uint32_t msn_ = 1;  // of the current or next message
  bool in_message_ = false;
  FpduHeader message_;            // its first segment
  uint32_t received_ = 0;         // its bytes so far
  uint32_t immediate_ = 0;        // of the Immediate Data in progress
  bool immediate_pairs_ = false;  // with the Send that follows
  std::optional<uint32_t> pending_immediate_;

  // The tagged stream.
  bool write_open_ = false;
  uint32_t write_bytes_ = 0;
  // Bytes of the Write that ended just before the next segment, else 0.
  uint32_t last_write_ = 0;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_INBOUND_H_
