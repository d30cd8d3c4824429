#include "server/blocking_pool.h"

#include <pthread.h>

#include <utility>

namespace rnbd::server {

BlockingPool::BlockingPool(const std::string& name, int threads) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { Loop(); });
    pthread_setname_np(threads_.back().native_handle(), name.c_str());
  }
}

BlockingPool::~BlockingPool() {
  {
    rtrs::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

void BlockingPool::Run(std::function<void()> task) {
  rtrs::MutexLock lock(&mutex_);
  tasks_.push_back(std::move(task));
  changed_.Signal();
}

void BlockingPool::Loop() {
  while (true) {
    std::function<void()> task;
    {
      rtrs::MutexLock lock(&mutex_);
      while (!HasWork()) changed_.Wait(&mutex_);
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task();
  }
}

}  // namespace rnbd::server
