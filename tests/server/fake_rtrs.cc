#include "tests/server/fake_rtrs.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/time/clock.h"
#include "rtrs/base/mutex.h"

namespace rnbd::server {

FakeWorker::FakeWorker(int index)
    : index_(index), event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

FakeWorker::~FakeWorker() { close(event_); }

void FakeWorker::Post(std::function<void()> task) {
  rtrs::MutexLock lock(&mutex_);
  tasks_.push_back(std::move(task));
  EXPECT_EQ(eventfd_write(event_, 1), 0);
}

bool FakeWorker::Progress() {
  std::deque<std::function<void()>> tasks;
  {
    rtrs::MutexLock lock(&mutex_);
    tasks.swap(tasks_);
  }
  bool any = !tasks.empty();
  for (auto& task : tasks) task();
  for (rtrs::server::WorkerHook* hook : hooks_) any |= hook->Progress();
  return any;
}

bool FakeWorker::Arm() {
  eventfd_t count = 0;
  if (eventfd_read(event_, &count) == 0) return false;
  for (rtrs::server::WorkerHook* hook : hooks_) {
    if (!hook->Arm()) return false;
  }
  return true;
}

void FakeWorker::RunUntil(const std::function<bool()>& done) {
  const absl::Time deadline = absl::Now() + absl::Minutes(1);
  while (!done()) {
    ASSERT_LT(absl::Now(), deadline) << "nothing happens any more";
    if (Progress() || !Arm()) continue;
    std::vector<pollfd> fds{{event_, POLLIN, 0}};
    for (rtrs::server::WorkerHook* hook : hooks_) {
      fds.push_back({hook->fd(), POLLIN, 0});
    }
    poll(fds.data(), fds.size(), 60'000);
  }
}

FakeSession::FakeSession(std::string name, uint32_t chunks, uint32_t chunk_size)
    : name_(std::move(name)), chunk_size_(chunk_size) {
  const size_t length = size_t{chunks} * chunk_size;
  void* memory = mmap(nullptr, length, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  EXPECT_NE(memory, MAP_FAILED);
  memory_ = absl::MakeSpan(static_cast<uint8_t*>(memory), length);
  peer_ = *rtrs::SocketAddress::Parse("192.0.2.1", 4711);
}

FakeSession::~FakeSession() { munmap(memory_.data(), memory_.size()); }

FakeRequest::FakeRequest(FakeSession* fake_session, FakeWorker* fake_worker,
                         uint32_t chunk, rtrs::server::Direction way,
                         size_t data_length, std::vector<uint8_t> message)
    : message_(std::move(message)) {
  direction = way;
  data = fake_session->chunk(chunk).first(data_length);
  user_message = message_;
  session = fake_session;
  worker = fake_worker;
  buf_id = chunk;
  std::memset(scratch, 0xa5, sizeof(scratch));
}

void FakeRequest::Complete(int error) {
  EXPECT_FALSE(completed_) << "completed twice";
  completed_ = true;
  error_ = error;
}

}  // namespace rnbd::server
