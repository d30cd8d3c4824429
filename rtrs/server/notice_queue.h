// The NOTICEs of one path (wire/immediate.h): one is on its way at a time, the
// others wait until the client has confirmed it. Of its connection; one thread.
#ifndef RTRS_SERVER_NOTICE_QUEUE_H_
#define RTRS_SERVER_NOTICE_QUEUE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

namespace rtrs::server {

class NoticeQueue {
 public:
  // More are dropped: who has something to say says it again.
  static constexpr size_t kMaxWaiting = 64;

  // Waits from now on, unless it does already. Also while the same payload is
  // on its way, which the client may have looked at before this call.
  void Add(uint32_t payload) {
    if (waiting_.size() < kMaxWaiting &&
        std::find(waiting_.begin(), waiting_.end(), payload) ==
            waiting_.end()) {
      waiting_.push_back(payload);
    }
  }
  bool CanSend() const { return !on_its_way_ && !waiting_.empty(); }
  // The one to send now. Only while CanSend().
  uint32_t TakeNext() {
    on_its_way_ = waiting_.front();
    waiting_.pop_front();
    return *on_its_way_;
  }
  // The client confirmed it; false if it was not sent.
  bool Acknowledge(uint32_t payload) {
    if (on_its_way_ != payload) return false;
    on_its_way_.reset();
    return true;
  }

 private:
  std::optional<uint32_t> on_its_way_;
  std::deque<uint32_t> waiting_;
};

}  // namespace rtrs::server

#endif  // RTRS_SERVER_NOTICE_QUEUE_H_
