// From bytes to segments: reads a stream, finds the FPDUs however they are
// split, verifies CRCs, and lets Inbound place them. spec/iwarp.md §5.3.
//
// Without CRCs the rest of a large payload is received straight into its
// target memory, and by the same call the header of the next FPDU, so that a
// run of large payloads passes the buffer by. With CRCs an FPDU is complete and
// verified before any byte of it is placed.
//
// Owned by a queue pair; one thread.
#ifndef RTRS_FABRIC_SOFTIWARP_RECEIVER_H_
#define RTRS_FABRIC_SOFTIWARP_RECEIVER_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/types/span.h"
#include "rtrs/fabric/softiwarp/fpdu.h"
#include "rtrs/fabric/softiwarp/inbound.h"
#include "rtrs/fabric/softiwarp/transport.h"

namespace rtrs::fabric::softiwarp {

class Receiver {
 public:
  enum class Outcome {
    kIdle,        // nothing there
    kProgress,    // took bytes
    kStalled,     // waits for a receive to be posted
    kRefused,     // see refusal() and offender()
    kTerminated,  // see inbound's terminate()
    kEnd,         // the peer ended the stream
    kError,       // see error()
  };

  explicit Receiver(Inbound* inbound);

  void set_crc(bool on) { crc_ = on; }

  // Reads what is there, at most about kReadBudget bytes, and processes it.
  Outcome Pull(ByteStream* stream);
  // Processes what was read before: after set-up, or after a stall.
  Outcome Process();

  // Set-up frames come through the same buffer, before any FPDU.
  Outcome FillBuffer(ByteStream* stream);
  absl::Span<const uint8_t> buffered() const {
    return {&buffer_[head_], tail_ - head_};
  }
  void Consume(size_t length) { head_ += length; }

  // FPDUs taken in full since the beginning.
  uint64_t fpdus() const { return fpdus_; }
  // Between two FPDUs and two messages: the stream may end here.
  bool at_boundary() const {
    return state_ == State::kHeader && head_ == tail_ &&
           inbound_->at_boundary();
  }
  const Refusal& refusal() const { return refusal_; }
  // Length field and header of the refused segment, if the refusal wants it.
  absl::Span<const uint8_t> offender() const;
  // Of the segment last looked at.
  absl::Span<const uint8_t> header_bytes() const {
    return {header_bytes_, header_.size()};
  }
  bool ended() const { return ended_; }
  int error() const { return error_; }

 private:
  enum class State {
    kHeader,   // at the start of an FPDU
    kPayload,  // header accepted, payload_left_ bytes to place
    kTrailer,  // payload placed, trailer_left_ bytes of pad and CRC to skip
    kFailed,   // refused or terminated: nothing is delivered any more
  };
  static constexpr size_t kBufferSize = 128 << 10;
  static constexpr size_t kReadBudget = 256 << 10;
  static constexpr size_t kDirectThreshold = 8 << 10;
  // Holds the end of an FPDU, an immediate and the header of the next one.
  static constexpr size_t kHeaderRead = 256;

  Outcome Refuse(const Refusal& refusal);
  Outcome TakeHeader();
  Outcome TakePayload();
  Outcome TakeTrailer();
  bool CrcMatches(size_t fpdu_size) const;
  // Makes free space behind tail_.
  void Compact();
  // One read call. Bytes read, 0 for the end, -errno. `*full` tells whether
  // all that was offered was filled.
  ssize_t ReadSome(ByteStream* stream, bool* full);

  Inbound* inbound_;
  bool crc_ = false;
  State state_ = State::kHeader;
  FpduHeader header_;
  uint8_t header_bytes_[kMaxHeaderSize] = {};
  uint32_t payload_left_ = 0;
  uint32_t trailer_left_ = 0;
  bool large_ = false;      // the message last begun is one to receive in place
  bool continues_ = false;  // the segment last begun is not its message's last
  Refusal refusal_;
  uint64_t fpdus_ = 0;
  bool ended_ = false;  // the peer's half
  int error_ = 0;
  std::unique_ptr<uint8_t[]> buffer_;
  size_t head_ = 0;
  size_t tail_ = 0;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_RECEIVER_H_
