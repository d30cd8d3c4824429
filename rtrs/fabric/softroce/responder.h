// The receiving half of an RC queue pair: packets in order become writes to
// registered memory and receive completions, and acknowledgements go back.
// roce.md §7.
//
// A single-threaded state machine without I/O. Feed it the request packets of
// one queue pair; after a batch, TakeAck says what to send back (one coalesced
// acknowledgement for all of it).
#ifndef RTRS_FABRIC_SOFTROCE_RESPONDER_H_
#define RTRS_FABRIC_SOFTROCE_RESPONDER_H_

#include <cstdint>
#include <deque>
#include <optional>

#include "absl/types/span.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/fabric/work_request.h"

namespace rtrs::softroce {

// The memory that packets may be placed in. Implementations check key, range,
// right and protection domain at every call and copy while the region cannot
// go away.
class RemoteMemory {
 public:
  virtual ~RemoteMemory() = default;
  // Whether [address, address + length) may be written with `rkey`. length > 0.
  virtual bool MayWrite(uint32_t rkey, uint64_t address, uint64_t length) = 0;
  // Copies; false if the right is gone meanwhile.
  virtual bool Write(uint32_t rkey, uint64_t address,
                     absl::Span<const uint8_t> data) = 0;
  // Copies into the memory of a posted receive; false if it is gone.
  virtual bool WriteReceive(uint32_t lkey, uint8_t* address,
                            absl::Span<const uint8_t> data) = 0;
  // Kills the key for SEND_WITH_INV; false if there is no such key.
  virtual bool Invalidate(uint32_t rkey) = 0;
};

struct ReceiveCompletion {
  fabric::WorkCompletion wc;  // wr_id, status, opcode, flags, byte_len, imm
};

struct ResponderStats {
  uint64_t packets = 0;
  uint64_t duplicates = 0;
  uint64_t gaps = 0;  // packets that came too early
  uint64_t rnr_naks = 0;
  uint64_t refused = 0;  // NAKed for good
};

class Responder {
 public:
  // `expected_psn`: of the first packet. `mtu`: payload bytes of a packet.
  // `memory` outlives it.
  Responder(uint32_t expected_psn, uint32_t mtu, RemoteMemory* memory)
      : mtu_(mtu), memory_(memory), epsn_(expected_psn) {}

  void PostRecv(const fabric::RecvWr& wr) { receives_.push_back(wr); }
  size_t posted() const { return receives_.size(); }

  // A request packet (opcode class RC, not an ACK).
  void OnPacket(const Packet& packet);

  // What to answer since the last call, if anything. §8.
  struct Ack {
    uint32_t psn = 0;
    Aeth aeth;
  };
  std::optional<Ack> TakeAck();
  bool owes_ack() const { return ack_.has_value(); }

  // Takes the oldest completion; false if there is none.
  bool NextCompletion(ReceiveCompletion* out);
  // Flushes the posted receives; nothing is executed any more.
  void Flush();
  bool failed() const { return failed_; }
  const ResponderStats& stats() const { return stats_; }

  // The pause asked of a sender that found no receive, as a code of §8: 0.64
  // ms, long for a poller and short for a disk.
  static constexpr uint8_t kRnrTimerCode = 12;

 private:
  enum class Message : uint8_t { kNone, kSend, kWrite };

  bool InOrder(const Packet& packet);
  bool PlaceSend(const Packet& packet);
  bool PlaceWrite(const Packet& packet);
  void Complete(const Packet& packet);
  // Answers with a fatal NAK; always false.
  bool Refuse(uint32_t psn, uint8_t syndrome, fabric::WcStatus status);
  void Push(uint64_t wr_id, fabric::WcStatus status);

  const uint32_t mtu_;
  RemoteMemory* const memory_;
  uint32_t epsn_;
  uint32_t msn_ = 0;
  Message message_ = Message::kNone;  // that is being received
  uint32_t received_ = 0;             // SEND: bytes so far
  Reth write_;                        // WRITE: what is left of it
  uint32_t write_length_ = 0;         // WRITE: of the whole message
  bool nak_sent_ = false;
  bool failed_ = false;
  std::deque<fabric::RecvWr> receives_;
  std::deque<ReceiveCompletion> completions_;
  std::optional<Ack> ack_;
  ResponderStats stats_;
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_RESPONDER_H_
