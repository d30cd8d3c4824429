// A thread that drives a worker: wakes for tasks, file descriptors and
// deadlines, sleeps otherwise.
#include "rtrs/server/worker_thread.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>

#include "rtrs/base/clock.h"
#include "rtrs/base/mutex.h"
#include "tests/rtrs_server/harness.h"

namespace rtrs::server {
namespace {

// An engine that has work when its eventfd is written.
class EventHook : public WorkerHook {
 public:
  EventHook() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
  ~EventHook() { close(fd_); }
  bool Progress() override {
    uint64_t count;
    if (read(fd_, &count, sizeof(count)) != sizeof(count)) return false;
    called.Notify();
    return true;
  }
  size_t in_flight() const override { return 0; }
  int fd() const override { return fd_; }
  bool Arm() override { return true; }
  void Raise() {
    const uint64_t one = 1;
    ASSERT_EQ(write(fd_, &one, sizeof(one)), ssize_t{sizeof(one)});
  }
  Notification called;

 private:
  int fd_;
};

class WorkerThreadTest : public testing::Test {
 protected:
  void SetUp() override {
    ServerOptions options;
    options.workers = 2;
    auto made = Server::Create({&fabric_}, Clock::System(), Random::System(),
                               options, &handler_);
    ASSERT_TRUE(made.ok()) << made.status();
    server_ = *std::move(made);
  }

  fabric::LoopbackFabric fabric_;
  FakeHandler handler_;
  std::unique_ptr<Server> server_;
};

TEST_F(WorkerThreadTest, TasksRunOnTheWorkersThread) {
  WorkerThread first(server_->worker(0));
  WorkerThread second(server_->worker(1));
  // There and back many times, so that each is found asleep and awake.
  std::atomic<int> hops{0};
  Notification done;
  std::function<void()> hop = [&] {
    const int n = ++hops;
    if (n == 1000) return done.Notify();
    server_->worker(n % 2)->Post(hop);
  };
  server_->worker(0)->Post(hop);
  EXPECT_TRUE(done.WaitForNotificationWithTimeout(absl::Seconds(60)));
}

TEST_F(WorkerThreadTest, TasksFromManyThreadsAllRun) {
  WorkerThread thread(server_->worker(0));
  std::atomic<int> ran{0};
  Notification done;
  std::vector<std::thread> posters;
  for (int i = 0; i < 4; ++i) {
    posters.emplace_back([&] {
      for (int k = 0; k < 500; ++k) {
        server_->worker(0)->Post([&] {
          if (++ran == 2000) done.Notify();
        });
      }
    });
  }
  EXPECT_TRUE(done.WaitForNotificationWithTimeout(absl::Seconds(60)));
  for (std::thread& poster : posters) poster.join();
}

TEST_F(WorkerThreadTest, HooksWakeTheThread) {
  EventHook hook;
  server_->worker(1)->AddHook(&hook);
  WorkerThread thread(server_->worker(1), absl::ZeroDuration());
  hook.Raise();
  EXPECT_TRUE(hook.called.WaitForNotificationWithTimeout(absl::Seconds(60)));
}

TEST_F(WorkerThreadTest, StopEndsASleepingThread) {
  WorkerThread thread(server_->worker(0));
  thread.Stop();
  thread.Stop();
}

TEST_F(WorkerThreadTest, ShutdownRunsOnWorkerZero) {
  WorkerThread first(server_->worker(0));
  WorkerThread second(server_->worker(1));
  Notification done;
  server_->Shutdown([&done] { done.Notify(); });
  EXPECT_TRUE(done.WaitForNotificationWithTimeout(absl::Seconds(60)));
}

TEST_F(WorkerThreadTest, DeadlinesWakeTheThread) {
  ServerOptions options;
  options.half_open_timeout = absl::Milliseconds(50);
  auto made = Server::Create({&fabric_}, Clock::System(), Random::System(),
                             options, &handler_);
  ASSERT_TRUE(made.ok());
  const SocketAddress address =
      *(*made)->Listen(*SocketAddress::Parse("127.0.0.1", 0));
  RawClient client(&fabric_, address, [&](fabric::EventChannel*) {
    return (*made)->worker(0)->Progress();
  });
  client.request.cid_num = 2;
  ASSERT_TRUE(client.Connect(0).accepted);
  ASSERT_EQ((*made)->stats().paths, 1u);
  // From here on nothing but the deadline of the half-open path can wake it.
  WorkerThread thread(made->get()->worker(0), absl::ZeroDuration());
  const absl::Time give_up = absl::Now() + absl::Seconds(60);
  while ((*made)->stats().paths != 0 && absl::Now() < give_up) {
    std::this_thread::yield();
  }
  thread.Stop();
  EXPECT_EQ((*made)->stats().paths, 0u);
}

}  // namespace
}  // namespace rtrs::server
