// Whether a call sends its request itself or leaves it to the next poller.
//
// When many threads call, each of them could send what it has at once: a system
// call for each request here, and one for each answer at the server. Answers
// that are on their way will wake a poller anyway, and whoever takes the next
// of them sends all that has gathered. Measured with 64 threads on two
// processors, that takes a third of the CPU time out of a 4 KiB request.
//
// The answers may also not come: their path may be dead while another one
// works. So a call waits for kPatienceNs at the longest, then sends what is
// there.
#ifndef RTRS_CLIENT_SEND_BATCHING_H_
#define RTRS_CLIENT_SEND_BATCHING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace rtrs::client {

class SendBatching {
 public:
  // With fewer in flight, or a smaller part of all calls, the server would run
  // dry before the next batch; asking for more makes the batches small.
  static constexpr size_t kFewInFlight = 4;
  static constexpr size_t kPartOfCalls = 3;

  // Far longer than an answer takes that is worth waiting for.
  static constexpr int64_t kPatienceNs = 1'000'000;

  // By the holder of the engine, before it takes the list of submissions.
  // `quick`: answers have lately come so fast that it paid to poll for them; it
  // makes no sense to save a system call and wait for a slow disk.
  void OnDrain(size_t in_flight, bool quick) {
    answers_due_.store(quick ? in_flight : 0, std::memory_order_seq_cst);
  }

  // By any thread: answers are due, and come fast.
  bool AnswersDue() const {
    return answers_due_.load(std::memory_order_relaxed) > 0;
  }

  // By any thread, after it pushed a request, when there are `calls` with its
  // own: true if the next poller should send it. Since the number was
  // stored before the list was looked at, that poller finds the request there.
  bool LeaveToPoller(size_t calls) const {
    const size_t due = answers_due_.load(std::memory_order_seq_cst);
    return due >= kFewInFlight && due >= calls / kPartOfCalls;
  }

 private:
  std::atomic<size_t> answers_due_{0};
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_SEND_BATCHING_H_
