// The RTRS server as the RNBD layer sees it, without network: sessions,
// requests and workers that tests make and drive in one thread.
#ifndef TESTS_SERVER_FAKE_RTRS_H_
#define TESTS_SERVER_FAKE_RTRS_H_

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "rtrs/base/mutex.h"
#include "rtrs/server/server.h"

namespace rnbd::server {

class FakeWorker final : public rtrs::server::Worker {
 public:
  explicit FakeWorker(int index = 0);
  ~FakeWorker();
  FakeWorker(const FakeWorker&) = delete;
  FakeWorker& operator=(const FakeWorker&) = delete;

  int index() const override { return index_; }
  void Post(std::function<void()> task) override;
  void AddHook(rtrs::server::WorkerHook* hook) override {
    hooks_.push_back(hook);
  }
  bool Progress() override;
  uint64_t completions() const override { return 0; }
  int fd() const override { return event_; }
  bool Arm() override;
  absl::Time NextDeadline() const override { return absl::InfiniteFuture(); }

  // Works and sleeps until `done` is true; fails the test after a minute.
  void RunUntil(const std::function<bool()>& done);

 private:
  const int index_;
  const int event_;
  std::vector<rtrs::server::WorkerHook*> hooks_;
  rtrs::Mutex mutex_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
};

class FakeSession final : public rtrs::server::Session {
 public:
  FakeSession(std::string name, uint32_t chunks, uint32_t chunk_size);
  ~FakeSession();
  FakeSession(const FakeSession&) = delete;
  FakeSession& operator=(const FakeSession&) = delete;

  const std::string& name() const override { return name_; }
  absl::Span<uint8_t> chunk_memory() const override { return memory_; }
  uint32_t chunk_size() const override { return chunk_size_; }
  rtrs::wire::Capabilities client_capabilities() const override {
    return capabilities;
  }
  const rtrs::SocketAddress& peer_address() const override { return peer_; }
  void Disconnect() override {}
  void SendNotice(uint32_t payload) override { notices.push_back(payload); }

  absl::Span<uint8_t> chunk(uint32_t buf_id) const {
    return memory_.subspan(size_t{buf_id} * chunk_size_, chunk_size_);
  }

  rtrs::wire::Capabilities capabilities;
  std::vector<uint32_t> notices;  // payloads, in order

 private:
  const std::string name_;
  const uint32_t chunk_size_;
  absl::Span<uint8_t> memory_;
  rtrs::SocketAddress peer_;
};

// A request in chunk `buf_id`. `data_length` bytes of the chunk are its data.
class FakeRequest final : public rtrs::server::Request {
 public:
  FakeRequest(FakeSession* fake_session, FakeWorker* fake_worker,
              uint32_t chunk, rtrs::server::Direction way, size_t data_length,
              std::vector<uint8_t> message);
  void Complete(int error) override;

  bool completed() const { return completed_; }
  int error() const { return error_; }

 private:
  const std::vector<uint8_t> message_;
  bool completed_ = false;
  int error_ = -1;
};

}  // namespace rnbd::server

#endif  // TESTS_SERVER_FAKE_RTRS_H_
