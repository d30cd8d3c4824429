#include "server/blocking_io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "rtrs/base/clock.h"
#include "server/backing.h"
#include "server/io_priority.h"

namespace rnbd::server {
namespace {

// What O_DIRECT may ask of memory addresses on any device we know.
constexpr size_t kMemoryAlignment = 512;
constexpr size_t kPage = 4096;
constexpr size_t kZeroBytes = 1 << 20;
// Longest single write of a repeated pattern, about.
constexpr size_t kPatternBytes = 64 << 10;

// An inline write that took longer sends the writes that follow to an engine
// for a while: the kernel makes writers wait that fill the page cache faster
// than the disk empties it, and a worker has others to serve.
constexpr int64_t kSlowWriteNs = 2'000'000;
constexpr int64_t kInlineWritePauseNs = 50'000'000;

ssize_t Transfer(const StorageOp& op, uint8_t* data, size_t length, int flags) {
  iovec iov{data, length};
  const off_t offset = static_cast<off_t>(op.offset + op.moved);
  const int fd = op.backing->fd();
  if (op.kind == StorageOp::Kind::kRead) {
    const ssize_t n = preadv2(fd, &iov, 1, offset, flags);
    return n < 0 ? -errno : n;
  }
  if (op.dsync) flags |= RWF_DSYNC;
  const ssize_t n = pwritev2(fd, &iov, 1, offset, flags);
  return n < 0 ? -errno : n;
}

int TransferAll(StorageOp* op, uint8_t* data) {
  int error = 0;
  while (!Advance(
      op, Transfer(*op, data + op->moved, op->length - op->moved, 0), &error)) {
  }
  return error;
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using AlignedBuffer = std::unique_ptr<uint8_t, Free>;

AlignedBuffer AllocateAligned(size_t length) {
  const size_t whole = (length + kPage - 1) / kPage * kPage;
  return AlignedBuffer(static_cast<uint8_t*>(std::aligned_alloc(kPage, whole)));
}

int Move(StorageOp* op) {
  if (IsAligned(*op)) return TransferAll(op, op->data);
  const AlignedBuffer bounce = AllocateAligned(op->length);
  if (bounce == nullptr) return ENOMEM;
  op->moved = 0;
  if (op->kind == StorageOp::Kind::kWrite) {
    std::memcpy(bounce.get(), op->data, op->length);
  }
  const int error = TransferAll(op, bounce.get());
  if (error == 0 && op->kind == StorageOp::Kind::kRead) {
    std::memcpy(op->data, bounce.get(), op->length);
  }
  return error;
}

// Writes `pattern` (`step` bytes, whole copies of it) over the range.
int WriteRepeated(const StorageOp& op, uint8_t* pattern, size_t step) {
  StorageOp write = op;
  write.kind = StorageOp::Kind::kWrite;
  const uint64_t end = op.offset + op.length;
  while (write.offset < end) {
    write.length =
        static_cast<uint32_t>(std::min<uint64_t>(step, end - write.offset));
    write.moved = 0;
    if (const int error = TransferAll(&write, pattern)) return error;
    write.offset += write.length;
  }
  return 0;
}

int WriteZeroes(const StorageOp& op) {
  // Never written to, but system calls want it without const.
  alignas(kPage) static uint8_t zeroes[kZeroBytes];
  return WriteRepeated(op, zeroes, sizeof(zeroes));
}

int Replicate(const StorageOp& op) {
  if (op.data_length == 0) return EINVAL;
  const size_t copies = std::clamp<size_t>(kPatternBytes / op.data_length, 1,
                                           op.length / op.data_length + 1);
  const size_t step = copies * op.data_length;
  const AlignedBuffer pattern = AllocateAligned(step);
  if (pattern == nullptr) return ENOMEM;
  std::memcpy(pattern.get(), op.data, op.data_length);
  for (size_t i = 1; i < copies; ++i) {
    std::memcpy(pattern.get() + i * op.data_length, pattern.get(),
                op.data_length);
  }
  return WriteRepeated(op, pattern.get(), step);
}

int Fallocate(const StorageOp& op, int mode) {
  while (fallocate(op.backing->fd(), mode | FALLOC_FL_KEEP_SIZE,
                   static_cast<off_t>(op.offset), op.length) != 0) {
    if (errno != EINTR) return errno == ENOSYS ? EOPNOTSUPP : errno;
  }
  return 0;
}

// NOLINTNEXTLINE(google-runtime-int): as ioctl(2) has it.
int RangeIoctl(const StorageOp& op, unsigned long request) {
  uint64_t range[2] = {op.offset, op.length};
  if (op.backing->range_ioctl(op.backing->fd(), request, range) == 0) return 0;
  return errno == ENOTTY ? EOPNOTSUPP : errno;
}

int Discard(const StorageOp& op) {
  return op.backing->geometry().block_device
             ? RangeIoctl(op, BLKDISCARD)
             : Fallocate(op, FALLOC_FL_PUNCH_HOLE);
}

int Zero(const StorageOp& op) {
  if (!op.no_unmap) {
    const int error = Fallocate(op, FALLOC_FL_PUNCH_HOLE);
    if (error != EOPNOTSUPP) return error;
  }
  if (op.backing->geometry().block_device) {
    const int error = RangeIoctl(op, BLKZEROOUT);
    return error == EOPNOTSUPP ? WriteZeroes(op) : error;
  }
  if (!op.backing->no_zero_range.load(std::memory_order_relaxed)) {
    const int error = Fallocate(op, FALLOC_FL_ZERO_RANGE);
    if (error != EOPNOTSUPP) return error;
    op.backing->no_zero_range.store(true, std::memory_order_relaxed);
  }
  return WriteZeroes(op);
}

}  // namespace

bool IsAligned(const StorageOp& op) {
  const Geometry& g = op.backing->geometry();
  return !g.direct ||
         reinterpret_cast<uintptr_t>(op.data) % kMemoryAlignment == 0;
}

bool Advance(StorageOp* op, ssize_t result, int* error) {
  if (result == -EINTR) return false;
  if (result <= 0) {
    *error = result == 0 ? EIO : static_cast<int>(-result);
    return true;
  }
  op->moved += static_cast<uint32_t>(result);
  *error = 0;
  return op->moved >= op->length;
}

int PerformBlocking(StorageOp* op) {
  SetThreadIoPriority(op->priority);
  switch (op->kind) {
    case StorageOp::Kind::kRead:
    case StorageOp::Kind::kWrite:
      return Move(op);
    case StorageOp::Kind::kSync:
      return fdatasync(op->backing->fd()) == 0 ? 0 : errno;
    case StorageOp::Kind::kDiscard:
      return Discard(*op);
    case StorageOp::Kind::kSecureErase:
      return op->backing->geometry().block_device
                 ? RangeIoctl(*op, BLKSECDISCARD)
                 : EOPNOTSUPP;
    case StorageOp::Kind::kZero:
      return Zero(*op);
    case StorageOp::Kind::kReplicate:
      return Replicate(*op);
  }
  return EOPNOTSUPP;
}

bool TryInline(StorageOp* op, int* error) {
  Backing* backing = op->backing;
  switch (backing->inline_io()) {
    case InlineIo::kNever:
      return false;
    case InlineIo::kAlways:
      if (op->kind == StorageOp::Kind::kSync) {
        *error = 0;
        return true;
      }
      if (op->kind == StorageOp::Kind::kRead ||
          op->kind == StorageOp::Kind::kWrite) {
        *error = TransferAll(op, op->data);
        return true;
      }
      return false;  // discards and the like may be long
    case InlineIo::kNowait:
      break;
  }
  if (op->kind == StorageOp::Kind::kRead) {
    const ssize_t n = Transfer(*op, op->data, op->length, RWF_NOWAIT);
    // The rest, the end of the file and errors are for the engine.
    if (n > 0) op->moved = static_cast<uint32_t>(n);
    *error = 0;
    return op->moved >= op->length;
  }
  if (op->kind != StorageOp::Kind::kWrite || op->dsync) return false;
  const int64_t start = rtrs::MonotonicNs();
  if (start < backing->writes_inline_after.load(std::memory_order_relaxed)) {
    return false;
  }
  *error = TransferAll(op, op->data);
  const int64_t end = rtrs::MonotonicNs();
  if (end - start > kSlowWriteNs) {
    backing->writes_inline_after.store(end + kInlineWritePauseNs,
                                       std::memory_order_relaxed);
  }
  return true;
}

}  // namespace rnbd::server
