// Finds out whether polling through longer gaps than usual pays.
//
// Where it costs much to get to a sleeping worker (a machine that emulates
// another, deep idle states) a client that waits for each answer is slow, its
// gaps are long, and a worker that polls only through short gaps keeps it
// there. How much faster it would be cannot be known, so it is tried now and
// then: some gaps slept through, as many polled through, and what gave more
// requests in the same time is kept. A client that sends at its own rate gives
// as many either way, and the worker sleeps.
//
// No clock of its own; one thread.
#ifndef RTRS_SERVER_POLL_TRIAL_H_
#define RTRS_SERVER_POLL_TRIAL_H_

#include <algorithm>
#include <cstdint>

namespace rtrs::server {

// Times are in ns of any origin.
class PollTrial {
 public:
  // Gaps of each kind that are compared.
  static constexpr int kGaps = 64;
  // Between two trials. Twice as long each time that the outcome is the same.
  static constexpr int64_t kMinInterval = 250'000'000;
  static constexpr int64_t kMaxInterval = 16'000'000'000;
  // After such a gap what was found out holds no more.
  static constexpr int64_t kIdle = 100'000'000;

  // Whether to poll through longer gaps.
  bool polls() const { return mode_ != Mode::kSleeps; }

  // There was work, with that many completions.
  void OnWork(uint64_t completions) {
    work_ += static_cast<int64_t>(completions);
  }

  // It ended a gap of that length.
  void OnGap(int64_t now, int64_t gap) {
    if (gap > kIdle) *this = PollTrial();
    if (gaps_ < 0) Restart(now);
    if (++gaps_ <= kGaps) return;
    const int64_t cost = (now - start_) / std::max<int64_t>(work_, 1);
    Restart(now);
    if (mode_ == Mode::kTries) {
      Decide(now, cost);
    } else if (now >= next_) {
      if (mode_ == Mode::kSleeps) slept_cost_ = cost;
      mode_ = mode_ == Mode::kSleeps ? Mode::kTries : Mode::kSleeps;
    }
  }

  // There are gaps that need no trial: what was counted so far does not count.
  void Interrupt() { gaps_ = -1; }

 private:
  enum class Mode { kSleeps, kTries, kPolls };

  void Restart(int64_t now) {
    start_ = now;
    gaps_ = 0;
    work_ = 0;
  }

  void Decide(int64_t now, int64_t cost) {
    // By a quarter at least: two counts of the same differ, too.
    const bool pays = cost + cost / 4 < slept_cost_;
    interval_ =
        pays == paid_ ? std::min(2 * interval_, kMaxInterval) : kMinInterval;
    paid_ = pays;
    next_ = now + interval_;
    mode_ = pays ? Mode::kPolls : Mode::kSleeps;
  }

  Mode mode_ = Mode::kSleeps;
  int gaps_ = -1;           // since start_; -1: the next is the first
  int64_t start_ = 0;       // of what is being counted
  int64_t work_ = 0;        // completions since then
  int64_t slept_cost_ = 0;  // of a completion, ns, when last slept through
  bool paid_ = false;       // the last trial
  int64_t interval_ = kMinInterval;
  int64_t next_ = 0;  // when to begin another
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_POLL_TRIAL_H_
