// From work requests to bytes: builds the FPDUs of as many posted sends as fit
// and writes them with one call. spec/iwarp.md §4.1, §5.2.
//
// Headers, pads, CRCs and small payloads go into scratch, large payloads are
// gathered from where they are. What a write did not take stays built, at its
// exact position, until the next Send. Work requests complete when the stream
// has taken their last byte.
//
// Owned by a queue pair; one thread.
#ifndef RTRS_FABRIC_SOFTIWARP_TRANSMITTER_H_
#define RTRS_FABRIC_SOFTIWARP_TRANSMITTER_H_

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/fabric/softiwarp/crc32c.h"
#include "rtrs/fabric/softiwarp/fpdu.h"
#include "rtrs/fabric/softiwarp/send_queue.h"
#include "rtrs/fabric/softiwarp/transport.h"

namespace rtrs::fabric::softiwarp {

class Transmitter {
 public:
  enum class Outcome {
    kIdle,     // everything is written
    kBlocked,  // the stream takes no more now
    kError,    // see error()
  };

  explicit Transmitter(SendQueue* sends);

  void set_crc(bool on) { crc_ = on; }
  // The largest ULPDU that may be sent.
  void set_max_ulpdu(uint32_t bytes);

  // Queues bytes in front of all work requests: a set-up frame.
  void QueueBytes(absl::Span<const uint8_t> bytes);
  // Queues the zero-length Write that opens a peer-to-peer connection.
  void QueueRtr();
  // From now on, no entry at or behind `number` is sent.
  void StopAt(uint64_t number) { stop_at_ = number; }

  // Writes all that is queued and posted, as far as the stream takes it.
  Outcome Send(ByteStream* stream);
  // Writes only what is queued: not the work requests.
  Outcome SendQueued(ByteStream* stream);
  // Something is built but not written.
  bool pending() const { return written_ != built_; }
  // Something could be written now.
  bool has_work() const { return pending() || next_ < Limit(); }

  // A copy of the rest of the FPDU that is partly written, if any.
  std::vector<uint8_t> TakeInterrupted();
  int error() const { return error_; }

 private:
  static constexpr size_t kScratchSize = 16 << 10;
  static constexpr size_t kMaxParts = 512;
  static constexpr size_t kMaxFpdus = kScratchSize / 20;
  static constexpr uint64_t kMaxBatch = 1 << 20;  // bytes per write
  static constexpr uint32_t kCopyThreshold = 256;

  uint64_t Limit() const {
    return stop_at_ < sends_->tail() ? stop_at_ : sends_->tail();
  }
  void Build();
  bool HasRoom() const;
  // Builds one FPDU of the entry next_; true if the entry is finished.
  bool BuildStep(SendEntry* entry);
  void BuildImmediate(const SendEntry& entry, bool paired);
  bool BuildData(SendEntry* entry);
  void BuildFpdu(const FpduHeader& header);
  // Adds the next `length` payload bytes of entry next_.
  void AddPayload(uint32_t length, Crc32c* crc);
  void AddPart(const uint8_t* bytes, size_t length);
  uint8_t* AddScratch(size_t length);
  // One write of what is built.
  Outcome Write(ByteStream* stream);
  void Advance(size_t written);
  // Completes what is written; false if the completion queue overflowed.
  bool Complete();

  SendQueue* sends_;
  bool crc_ = false;
  uint32_t max_tagged_ = 0;  // payload bytes of one FPDU
  uint32_t max_untagged_ = 0;
  uint32_t msn_ = 1;
  uint64_t stop_at_ = ~uint64_t{0};
  int error_ = 0;

  // The entry that is built next, and how far it is built.
  uint64_t next_ = 0;
  bool immediate_built_ = false;
  uint32_t offset_ = 0;      // payload bytes built
  uint32_t sge_ = 0;         // the gather entry at offset_
  uint32_t sge_offset_ = 0;  // bytes of it built

  // Positions in the stream.
  uint64_t built_ = 0;
  uint64_t written_ = 0;
  uint64_t batch_start_ = 0;  // where the first of fpdu_ends_ begins

  // Built and not written: parts_[first_part_, part_count_).
  std::array<iovec, kMaxParts> parts_;
  size_t first_part_ = 0;
  size_t part_count_ = 0;
  std::unique_ptr<uint8_t[]> scratch_;
  size_t scratch_used_ = 0;
  // Where the FPDUs end that were built since nothing was pending.
  std::array<uint64_t, kMaxFpdus> fpdu_ends_;
  size_t fpdu_count_ = 0;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_TRANSMITTER_H_
