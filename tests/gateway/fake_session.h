// An RNBD server behind the interface of a client session: what the gateway
// sends is decoded, checked and executed on byte vectors.
//
// Run executes in the calling thread, the requests of one call in reverse;
// Submit executes in a thread of its own. All members but the vectors that a
// test reads afterwards may be used by any thread.
#ifndef TESTS_GATEWAY_FAKE_SESSION_H_
#define TESTS_GATEWAY_FAKE_SESSION_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "rtrs/base/mutex.h"
#include "rtrs/client/blocking_session.h"
#include "rtrs/wire/rnbd_messages.h"

namespace rnbd::gateway {

inline constexpr uint64_t kDiskSize = 1 << 20;  // of most tests' disk

struct FakeDevice {
  std::vector<uint8_t> bytes;
  wire::OpenRsp rsp;  // id and nsectors are filled in
};

// What arrived, in order.
struct SeenMessage {
  wire::RnbdType type = wire::RnbdType::kIo;
  wire::Io io;
  wire::Open open;
  uint32_t closed_id = 0;
  bool service = false;
  rtrs::client::Direction direction = rtrs::client::Direction::kRead;
  const uint8_t* data = nullptr;
  uint32_t data_len = 0;
  uint32_t affinity = 0;
  size_t run_size = 0;  // requests of the Run it came in
};

// The far end; outlives sessions, as a server outlives its clients.
class FakeServer {
 public:
  // A device of `bytes` bytes, filled with a pattern; refined by the test.
  FakeDevice& AddDevice(const std::string& name, uint64_t bytes);

  // Called for each IO before it is executed, without lock: may block. Not 0:
  // the errno to answer.
  std::function<int(const wire::Io&)> on_io;

  // Answers to OPEN are held back from Hold to Release.
  void HoldOpens();
  void ReleaseOpens();
  void WaitForHeldOpen();
  // Changes the size of a device, and says nothing.
  void Resize(const std::string& name, uint64_t bytes);
  // The next `n` OPENs are answered with `error`.
  void FailOpens(int n, int error);

  std::vector<SeenMessage> seen() const;
  std::vector<wire::Io> ios() const;
  size_t Count(wire::RnbdType type) const;
  size_t open_devices() const;
  void ClearSeen();
  // What a server does with a session that is gone.
  void ForgetSession();

  rtrs::client::SessionLimits limits;

 private:
  friend class FakeSession;
  void Execute(rtrs::client::Request* request, size_t run_size);
  int ExecuteIo(const wire::Io& io, rtrs::client::Request* request);
  int ExecuteOpen(const wire::Open& open, rtrs::client::Request* request);

  mutable rtrs::Mutex mu_;
  rtrs::CondVar changed_;
  std::map<std::string, FakeDevice> devices_;
  std::map<uint32_t, std::string> open_ids_ ABSL_GUARDED_BY(mu_);
  uint32_t next_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<SeenMessage> seen_ ABSL_GUARDED_BY(mu_);
  bool hold_opens_ ABSL_GUARDED_BY(mu_) = false;
  int held_opens_ ABSL_GUARDED_BY(mu_) = 0;
  int fail_opens_ ABSL_GUARDED_BY(mu_) = 0;
  int fail_error_ ABSL_GUARDED_BY(mu_) = 0;
};

class FakeSession : public rtrs::client::BlockingSession {
 public:
  explicit FakeSession(FakeServer* server);
  ~FakeSession() override;

  void Run(absl::Span<rtrs::client::Request* const> requests,
           absl::Time deadline) override;
  void Submit(rtrs::client::Request* request) override;
  rtrs::client::SessionState state() const override;
  rtrs::client::SessionLimits limits() const override;
  uint32_t generation() const override;
  absl::Status ChangePath(rtrs::client::PathChange change,
                          const rtrs::PathSpec& spec) override;
  std::vector<rtrs::client::PathInfo> paths() const override;
  void SetStateCallback(
      std::function<void(rtrs::client::SessionState, const absl::Status&)>
          callback) override;
  void SetNoticeCallback(
      std::function<void(uint32_t payload)> callback) override;

  // The server sends a notice.
  void Notice(uint32_t payload);
  // All paths are gone; the server forgets the session.
  void Disconnect();
  void Reconnect();
  absl::Time last_deadline() const;

 private:
  void Thread();
  void SetState(rtrs::client::SessionState state, const absl::Status& why);
  bool FailIfDown(rtrs::client::Request* request);

  FakeServer* const server_;
  mutable rtrs::Mutex mu_;
  rtrs::CondVar changed_;
  std::deque<rtrs::client::Request*> queue_ ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  absl::Time last_deadline_ ABSL_GUARDED_BY(mu_);
  uint32_t generation_ ABSL_GUARDED_BY(mu_) = 1;
  std::vector<rtrs::client::PathInfo> paths_ ABSL_GUARDED_BY(mu_);
  rtrs::client::SessionState state_ ABSL_GUARDED_BY(mu_) =
      rtrs::client::SessionState::kConnected;
  std::function<void(rtrs::client::SessionState, const absl::Status&)> callback_
      ABSL_GUARDED_BY(mu_);
  std::function<void(uint32_t)> notice_callback_ ABSL_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace rnbd::gateway

#endif  // TESTS_GATEWAY_FAKE_SESSION_H_
