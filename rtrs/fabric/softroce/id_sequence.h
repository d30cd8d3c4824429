// The IPv4 identifications of one peer's packets. roce.md §2.1, §3.
//
// A UDP socket does not show the identification, but the ICRC covers it. One
// that is expected is tried first and keeps all 32 check bits; any other can
// be solved for from the ICRC, which leaves 16. So a solved one must also fit
// to what the peer sent before: in our own trains it is the place, in packets
// of a kernel or a NIC it grows slowly.
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
    if (solved && id > kMaxTrain && !Fits(id, now)) {
      // The next one tells whether the peer moved on.
      candidate_ = id;
      return false;
    }
    counting_ = id > kMaxTrain;
    last_ = id;
    last_time_ = now;
    candidate_.reset();
    return true;
  }

 private:
  // Packets that overtake each other, and packets lost or sent to others.
  static constexpr int kBack = 256;
  static constexpr int kAhead = 1024;
  static constexpr absl::Duration kForget = absl::Seconds(1);

  static bool Near(uint16_t from, uint16_t id) {
    const int difference = static_cast<int16_t>(id - from);
    return difference >= -kBack && difference <= kAhead;
  }
  bool Fits(uint16_t id, absl::Time now) const {
    return now - last_time_ >= kForget || (counting_ && Near(last_, id)) ||
           (candidate_.has_value() && Near(*candidate_, id));
  }

  bool counting_ = false;
  uint16_t last_ = 0;
  absl::Time last_time_ = absl::InfinitePast();
  std::optional<uint16_t> candidate_;
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_ID_SEQUENCE_H_
