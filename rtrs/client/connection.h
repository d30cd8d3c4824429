// One connection of a path: a queue pair with its cid, its small receives and
// the accounting of its send queue. wire.md §1.7, §4.6, §4.8.
//
// Owned by its path, one thread. It knows nothing of messages: the path says
// what to send and understands what arrives.
#ifndef RTRS_CLIENT_CONNECTION_H_
#define RTRS_CLIENT_CONNECTION_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "rtrs/client/data_memory.h"
#include "rtrs/fabric/fabric.h"

namespace rtrs::client {

class Path;

// What a work request is for, packed into its wr_id.
struct WrId {
  enum class Kind : uint8_t { kSend, kReceive, kInfoReceive };
  static constexpr uint32_t kNoPermit = 0xFFFFF;
  static constexpr uint64_t kSequenceMask = (uint64_t{1} << 40) - 1;

  Kind kind = Kind::kSend;
  uint32_t permit = kNoPermit;  // kSend: of a request with its own completion
  uint64_t number = 0;          // kSend: position; kReceive: slot

  uint64_t Pack() const {
    return uint64_t{static_cast<uint8_t>(kind)} << 60 | uint64_t{permit} << 40 |
           (number & kSequenceMask);
  }
  static WrId Unpack(uint64_t v) {
    return {static_cast<Kind>(v >> 60),
            static_cast<uint32_t>(v >> 40) & kNoPermit, v & kSequenceMask};
  }
};

class Connection {
 public:
  // A receive takes an RKEY_RSP or an immediate.
  static constexpr uint32_t kReceiveSize = 8;  // bytes
  // Beyond one receive per request, for heartbeats and their answers.
  static constexpr uint32_t kSpareReceives = 16;
  // Send slots that requests leave to heartbeats and INFO_REQ.
  static constexpr uint32_t kSpareSends = 4;

  // Queue sizes that follow from `depth` requests in flight.
  static constexpr uint32_t SignalInterval(uint32_t depth) {
    return depth < 2 ? 1 : depth / 2;
  }
  static constexpr uint32_t SendEntries(uint32_t depth) {
    return depth + SignalInterval(depth) + 2 * kSpareSends;
  }
  static constexpr uint32_t ReceiveEntries(uint32_t depth) {
    return depth + kSpareReceives + 1;  // INFO_RSP
  }

  // `depth`: requests that may be in flight on it. `rekeyed`: each response
  // may bring a fresh rkey (NEW_RKEY).
  static absl::StatusOr<std::unique_ptr<Connection>> Create(
      fabric::EventChannel* channel, fabric::ProtectionDomain* pd,
      fabric::CompletionQueue* cq, Path* path, uint16_t cid, uint32_t depth,
      bool rekeyed);

  Path* path() const { return path_; }
  uint16_t cid() const { return cid_; }
  fabric::QueuePair* qp() const { return qp_.get(); }

  // Posts the receive for INFO_RSP; before PostReceives (§2.1).
  absl::Status PostInfoReceive(const RegisteredMemory& buffer, uint32_t length);
  // Posts all small receives.
  absl::Status PostReceives();
  // The small receive `slot` is free again; posted with the next Repost().
  void ReleaseReceive(uint64_t slot);
  absl::Status Repost();
  // What the receive `slot` holds, kReceiveSize bytes.
  const uint8_t* ReceiveBytes(uint64_t slot) const {
    return receive_memory_.bytes.get() + slot * kReceiveSize;
  }

  // Whether one more request may be sent here.
  bool HasRoom() const {
    return in_flight_ < depth_ && FreeSends() > kSpareSends;
  }
  // Posts `wr` without ringing the doorbell. With a `permit` it completes on
  // its own, so that the sender learns when its memory is no longer read.
  absl::Status Post(fabric::SendWr wr, uint32_t permit = WrId::kNoPermit);
  // A signalled send completed: all up to it have left the send queue.
  void OnSendCompletion(const WrId& id) {
    reclaimed_ = posted_ - ((posted_ - id.number) & WrId::kSequenceMask);
  }

  void OnRequestSent() { ++in_flight_; }
  void OnRequestAnswered() { --in_flight_; }

  bool established() const { return established_; }
  void set_established() { established_ = true; }
  bool gone() const { return gone_; }  // its kDisconnected was seen
  void set_gone() { gone_ = true; }

 private:
  Connection(fabric::ProtectionDomain* pd, Path* path, uint16_t cid,
             uint32_t depth)
      : pd_(pd), path_(path), cid_(cid), depth_(depth) {}
  uint64_t FreeSends() const {
    return SendEntries(depth_) - (posted_ - reclaimed_);
  }
  fabric::RecvWr Receive(uint64_t slot) const;

  fabric::ProtectionDomain* const pd_;
  Path* const path_;
  const uint16_t cid_;
  const uint32_t depth_;
  bool established_ = false;
  bool gone_ = false;
  uint32_t in_flight_ = 0;
  uint64_t posted_ = 0;
  uint64_t reclaimed_ = 0;
  uint64_t signaled_ = 0;  // position of the last signalled send
  RegisteredMemory receive_memory_;
  std::vector<fabric::RecvWr> to_repost_;
  std::unique_ptr<fabric::QueuePair> qp_;  // goes before the memory it uses
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_CONNECTION_H_
