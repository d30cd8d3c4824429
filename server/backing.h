// An open file or block device, as the storage engines see it.
#ifndef SERVER_BACKING_H_
#define SERVER_BACKING_H_

#include <atomic>
#include <cstdint>

#include "server/geometry.h"

namespace rnbd::server {

// What may be done at once on the worker's thread, because it does not block.
enum class InlineIo : uint8_t {
  kNever,   // O_DIRECT, or told so
  kNowait,  // reads that the page cache can answer (RWF_NOWAIT); writes go to
            // the page cache, unless they were slow lately
  kAlways,  // memory file systems
};

// Owns its file descriptor. Shared by all workers of a session; what changes
// is atomic.
class Backing {
 public:
  // BLKDISCARD, BLKSECDISCARD, BLKZEROOUT on a range of bytes: 0 or -1 and
  // errno, as ioctl(2). Tests without a block device put their own here.
  // NOLINTBEGIN(google-runtime-int): as ioctl(2) has it.
  using RangeIoctl = int (*)(int fd, unsigned long request, uint64_t range[2]);
  static int SystemRangeIoctl(int fd, unsigned long request, uint64_t range[2]);
  // NOLINTEND(google-runtime-int)

  Backing(int fd, const Geometry& geometry, InlineIo inline_io);
  ~Backing();
  Backing(const Backing&) = delete;
  Backing& operator=(const Backing&) = delete;

  int fd() const { return fd_; }
  // As it was when opened, but for the size.
  const Geometry& geometry() const { return geometry_; }
  // Bytes, a multiple of the logical block size.
  uint64_t size() const { return size_.load(std::memory_order_relaxed); }
  // Looks whether the file or device has changed its size. May block.
  void RefreshSize() { size_.store(AskSize(), std::memory_order_relaxed); }
  // The size of now, not kept: who keeps it also says so. May block.
  uint64_t AskSize() const;
  InlineIo inline_io() const { return inline_io_; }
  // A small number for tables indexed by file, reused after destruction, and
  // one that never repeats.
  uint32_t index() const { return index_; }
  uint64_t serial() const { return serial_; }

  // Set once the file system has refused FALLOC_FL_ZERO_RANGE.
  std::atomic<bool> no_zero_range{false};
  // When, in nanoseconds of CLOCK_MONOTONIC, writes may be done inline again.
  std::atomic<int64_t> writes_inline_after{0};

  RangeIoctl range_ioctl = &SystemRangeIoctl;

 private:
  const int fd_;
  const Geometry geometry_;
  std::atomic<uint64_t> size_;
  const InlineIo inline_io_;
  const uint32_t index_;
  const uint64_t serial_;
};

}  // namespace rnbd::server

#endif  // SERVER_BACKING_H_
