// The event channel: readiness, timers, events of one thread. fabric.h.
//
// Few connections are read directly, one receive call each per round; many are
// asked for through the poller first. What is rare (listeners, set-up, closing,
// blocked senders) always goes through the poller.
//
// One thread, except Mailbox.
#ifndef RTRS_FABRIC_SOFTIWARP_EVENT_CHANNEL_H_
#define RTRS_FABRIC_SOFTIWARP_EVENT_CHANNEL_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "rtrs/base/mutex.h"
#include "rtrs/fabric/completion_queue.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/softiwarp/core.h"
#include "rtrs/fabric/softiwarp/transport.h"

namespace rtrs::fabric::softiwarp {

class Qp;

// Something that the channel watches. Its owner destroys it outside of
// OnReady and OnTimer, or gives it to Channel::Bury.
class EventSource {
 public:
  virtual ~EventSource() = default;
  virtual void OnReady(uint32_t interest) = 0;
  virtual void OnTimer() = 0;

 private:
  friend class Channel;
  // Of its timer, if one runs. The number makes the order of equal times
  // repeatable.
  std::pair<absl::Time, uint64_t> timer_{absl::InfiniteFuture(), 0};
};

// Takes streams that other threads want closed in order, with last words.
// Outlives the channel as long as somebody holds it.
class Mailbox {
 public:
  struct Letter {
    std::unique_ptr<ByteStream> stream;
    std::vector<uint8_t> last_words;
  };
  explicit Mailbox(Poller* poller) : poller_(poller) {}
  // Any thread. Closes the stream at once if the channel is gone.
  void Put(Letter letter);
  std::vector<Letter> Take();
  void Close();
  bool has_mail() const { return has_mail_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> has_mail_{false};
  Mutex mutex_;
  Poller* poller_ ABSL_GUARDED_BY(mutex_);  // nullptr: closed
  std::vector<Letter> letters_ ABSL_GUARDED_BY(mutex_);
};

class Channel : public EventChannel {
 public:
  Channel(Core* core, std::unique_ptr<Poller> poller);
  ~Channel() override;

  absl::StatusOr<std::unique_ptr<CompletionQueue>> CreateCq(
      uint32_t entries) override;
  absl::StatusOr<std::unique_ptr<QueuePair>> CreateQp(
      const QueuePairInit& init) override;
  absl::StatusOr<std::unique_ptr<Listener>> Listen(const SocketAddress& address,
                                                   int backlog) override;
  bool Progress() override;
  void Flush() override;
  bool NextEvent(CmEvent* event) override;
  int fd() const override { return poller_->fd(); }
  bool Arm() override;
  absl::Time NextDeadline() const override;

  // For the objects of the channel.
  Core* core() const { return core_; }
  absl::Status Watch(Pollable* what, uint32_t interest, EventSource* source) {
    return poller_->Add(what, interest, source);
  }
  void Rewatch(Pollable* what, uint32_t interest, EventSource* source) {
    poller_->Modify(what, interest, source);
  }
  void Unwatch(Pollable* what) { poller_->Remove(what); }
  const std::shared_ptr<Mailbox>& mailbox() const { return mailbox_; }
  void PushEvent(CmEvent event) { events_.push_back(std::move(event)); }
  void SetTimer(EventSource* source, absl::Duration after);
  void CancelTimer(EventSource* source);
  // Sources that are not read directly and so need the poller.
  void AddRare() { ++rare_; }
  void RemoveRare() { --rare_; }
  void AddBlocked() { ++blocked_; }
  void RemoveBlocked() { --blocked_; }
  // Queue pairs that are read directly while they are few.
  void AddReading(Qp* qp) { reading_.push_back(qp); }
  void RemoveReading(Qp* qp) { std::erase(reading_, qp); }
  // Queue pairs with deferred sends, or with receives for a stalled message.
  void AddDirty(Qp* qp) { dirty_.push_back(qp); }
  void AddResumable(Qp* qp) { resumable_.push_back(qp); }
  // Forgets everything about `qp`.
  void Forget(Qp* qp);
  // Writes `last_words`, ends our half, and closes when the peer ends its half
  // or kLingerTimeout is over.
  void Linger(std::unique_ptr<ByteStream> stream,
              std::vector<uint8_t> last_words);
  // Destroys `source` when the channel is not inside of it any more.
  void Bury(std::unique_ptr<EventSource> source) {
    graveyard_.push_back(std::move(source));
  }
  // Ends a stream that Linger took.
  void Retire(EventSource* lingering);

 private:
  bool PollSources();
  bool RunTimers();
  bool Resume();
  bool ReadMail();

  Core* core_;
  std::unique_ptr<Poller> poller_;
  std::shared_ptr<Mailbox> mailbox_;
  std::deque<CmEvent> events_;
  std::map<std::pair<absl::Time, uint64_t>, EventSource*> timers_;
  uint64_t timer_count_ = 0;
  std::vector<Cq*> cqs_;
  std::vector<Qp*> reading_;
  std::vector<Qp*> dirty_;
  std::vector<Qp*> resumable_;
  std::vector<std::unique_ptr<EventSource>> lingering_;
  std::vector<std::unique_ptr<EventSource>> graveyard_;
  int rare_ = 0;
  int blocked_ = 0;
  uint32_t turn_ = 0;
  bool armed_ = false;  // somebody may have slept since the last Progress
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_EVENT_CHANNEL_H_
