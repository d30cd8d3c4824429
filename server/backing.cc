#include "server/backing.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <set>

#include "absl/base/thread_annotations.h"
#include "rtrs/base/mutex.h"

namespace rnbd::server {
namespace {

// Hands out the lowest free number, so that tables indexed by it stay small.
class IndexPool {
 public:
  uint32_t Take() {
    rtrs::MutexLock lock(&mutex_);
    if (free_.empty()) return next_++;
    const uint32_t index = *free_.begin();
    free_.erase(free_.begin());
    return index;
  }
  void Return(uint32_t index) {
    rtrs::MutexLock lock(&mutex_);
    free_.insert(index);
  }

 private:
  rtrs::Mutex mutex_;
  std::set<uint32_t> free_ ABSL_GUARDED_BY(mutex_);
  uint32_t next_ ABSL_GUARDED_BY(mutex_) = 0;
};

IndexPool& Indices() {
  static IndexPool* const pool = new IndexPool;
  return *pool;
}

uint64_t NextSerial() {
  static std::atomic<uint64_t> serial{0};
  return serial.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

int Backing::SystemRangeIoctl(int fd, unsigned long request,
                              uint64_t range[2]) {
  return ioctl(fd, request, range);
}

Backing::Backing(int fd, const Geometry& geometry, InlineIo inline_io)
    : fd_(fd),
      geometry_(geometry),
      size_(geometry.size),
      inline_io_(inline_io),
      index_(Indices().Take()),
      serial_(NextSerial()) {}

Backing::~Backing() {
  close(fd_);
  Indices().Return(index_);
}

uint64_t Backing::AskSize() const {
  const off_t end = lseek(fd_, 0, SEEK_END);
  if (end < 0) return size();
  const uint64_t block = geometry_.logical_block_size;
  return static_cast<uint64_t>(end) / block * block;
}

}  // namespace rnbd::server
