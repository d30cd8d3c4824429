// Requests on their way from many threads to the one that runs the session.
//
// A lock-free stack: any thread pushes, the holder of the engine takes all.
#ifndef RTRS_CLIENT_SUBMISSION_LIST_H_
#define RTRS_CLIENT_SUBMISSION_LIST_H_

#include <atomic>

#include "absl/types/span.h"
#include "rtrs/client/request.h"

namespace rtrs::client {

class SubmissionList {
 public:
  // Adds `requests`, at least one. The memory order makes this and a failed
  // TryLock behind it visible to a holder that unlocks and then calls empty().
  void Push(absl::Span<Request* const> requests) {
    Request* const last = requests.front();
    Request* head = last;
    for (Request* request : requests.subspan(1)) {
      request->priv.next = head;
      head = request;
    }
    last->priv.next = head_.load(std::memory_order_relaxed);
    while (!head_.compare_exchange_weak(last->priv.next, head,
                                        std::memory_order_seq_cst,
                                        std::memory_order_relaxed)) {
    }
  }

  bool empty() const {
    return head_.load(std::memory_order_seq_cst) == nullptr;
  }

  // Takes all, linked by priv.next in the order in which they were pushed.
  Request* TakeAll() {
    if (head_.load(std::memory_order_relaxed) == nullptr) return nullptr;
    Request* request = head_.exchange(nullptr, std::memory_order_acquire);
    Request* first = nullptr;
    while (request != nullptr) {
      Request* const next = request->priv.next;
      request->priv.next = first;
      first = request;
      request = next;
    }
    return first;
  }

 private:
  std::atomic<Request*> head_{nullptr};
};

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_SUBMISSION_LIST_H_
