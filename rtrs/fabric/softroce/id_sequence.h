// The IPv4 identifications of one peer's packets. roce.md §2.1, §3.
//
// A UDP socket does not show the identification, but the ICRC covers it. One
// that is expected is tried first and keeps all 32 check bits; any other can
// be solved for from the ICRC, which leaves 16. So a solved one must also fit
// to what the peer sent before: in our own trains it is the place, in packets
// of a kernel or a NIC it grows slowly.
//
// Linux counts for a pair of addresses, over all queue pairs between them: a
// queue pair alone would see jumps when the others were busy. A packet that is
// refused costs more than its repetition, see the README about soft RoCE.
#ifndef RTRS_FABRIC_SOFTROCE_ID_SEQUENCE_H_
#define RTRS_FABRIC_SOFTROCE_ID_SEQUENCE_H_

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "rtrs/fabric/softroce/datagram_transport.h"

namespace rtrs::softroce {

class IdSequence {
 public:
  // For a packet at `place` of its train.
  uint16_t Expected(uint32_t place) const {
    return counting_ ? static_cast<uint16_t>(last_ + 1)
                     : static_cast<uint16_t>(place);
  }

  // Whether a packet with `id` may be of this peer. `solved`: not expected.
  bool Accept(uint16_t id, bool solved, absl::Time now) {
    const bool near = Near(last_, id);
    if (solved && id > kMaxTrain && !near && now - last_time_ < kForget &&
        !(candidate_.has_value() && Near(*candidate_, id))) {
      // The next one tells whether the peer moved on.
      candidate_ = id;
      return false;
    }
    // A counter that wraps passes the places of a train.
    const bool counted = counting_ && near;
    counting_ = counted || id > kMaxTrain;
    // One that was overtaken says nothing about the next one.
    if (!counted || Distance(last_, id) > 0) last_ = id;
    last_time_ = now;
    candidate_.reset();
    return true;
  }

 private:
  // Packets that overtake each other, and packets lost on the way.
  static constexpr int kBack = 1024;
  static constexpr int kAhead = 2048;
  static constexpr absl::Duration kForget = absl::Seconds(1);

  static int Distance(uint16_t from, uint16_t id) {
    return static_cast<int16_t>(id - from);
  }
  static bool Near(uint16_t from, uint16_t id) {
    return Distance(from, id) >= -kBack && Distance(from, id) <= kAhead;
  }

  bool counting_ = false;
  uint16_t last_ = 0;
  absl::Time last_time_ = absl::InfinitePast();
  std::optional<uint16_t> candidate_;
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_ID_SEQUENCE_H_
