// The heartbeat rule of one path, wire.md §5.1: when to send a heartbeat and
// when to give the peer up. Owned by the path; no I/O and no clock of its own.
#ifndef RTRS_CLIENT_HEARTBEAT_H_
#define RTRS_CLIENT_HEARTBEAT_H_

#include "absl/time/time.h"

namespace rtrs::client {

class Heartbeat {
 public:
  enum class Action {
    kNone,  // nothing to do now
    kSend,  // send one heartbeat message
    kFail,  // the peer is gone
  };

  Heartbeat(absl::Duration interval, int missed_max)
      : interval_(interval), missed_max_(missed_max) {}

  void Start(absl::Time now) {
    missed_ = 0;
    due_ = now + interval_;
    sent_ = absl::InfinitePast();
    latency_ = absl::ZeroDuration();
  }
  void Stop() { due_ = absl::InfiniteFuture(); }

  // Anything that arrives on any connection of the path is a sign of life.
  void OnReceive() { missed_ = 0; }

  // One tick of the timer if it is due. At most one message is outstanding,
  // so that after it only silence counts.
  Action Tick(absl::Time now) {
    if (now < due_) return Action::kNone;
    due_ = now + interval_;
    if (missed_ > missed_max_) return Action::kFail;
    if (missed_++ > 0) return Action::kNone;
    sent_ = now;
    return Action::kSend;
  }

  // An acknowledgement: measures the round trip.
  void OnAck(absl::Time now) {
    if (sent_ == absl::InfinitePast()) return;
    latency_ = now - sent_;
    sent_ = absl::InfinitePast();
  }
  // The last one measured; 0 before the first.
  absl::Duration latency() const { return latency_; }

  absl::Time due() const { return due_; }

 private:
  absl::Duration interval_;
  int missed_max_;
  int missed_ = 0;
  absl::Time due_ = absl::InfiniteFuture();
  absl::Time sent_ = absl::InfinitePast();  // not acknowledged yet
  absl::Duration latency_;
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_HEARTBEAT_H_
