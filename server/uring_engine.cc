#include "server/uring_engine.h"

#include <errno.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "server/backing.h"
#include "server/blocking_io.h"

namespace rnbd::server {
namespace {

// Best first. The first makes the kernel finish operations only when the
// worker asks, in its own thread (Linux 6.1); a ring that one thread alone may
// use is enabled by that thread.
constexpr unsigned kSetups[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
        IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_R_DISABLED,
    IORING_SETUP_R_DISABLED,
};

// The largest buffer that the kernel registers.
constexpr size_t kMaxMemory = size_t{1} << 30;
constexpr unsigned kBatch = 64;

bool CanDo(io_uring* ring) {
  io_uring_probe* probe = io_uring_get_probe_ring(ring);
  if (probe == nullptr) return false;
  absl::Cleanup free_probe = [probe] { io_uring_free_probe(probe); };
  const int needed[] = {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC};
  return std::all_of(std::begin(needed), std::end(needed), [probe](int op) {
    return io_uring_opcode_supported(probe, op) != 0;
  });
}

}  // namespace

absl::StatusOr<std::unique_ptr<UringEngine>> UringEngine::Create(
    int worker, StorageEngine* fallback) {
  int error = 0;
  for (const unsigned flags : kSetups) {
    RTRS_ASSIGN_OR_RETURN(rtrs::EventFd event, rtrs::EventFd::Create());
    std::unique_ptr<UringEngine> engine(
        new UringEngine(worker, fallback, flags, std::move(event)));
    io_uring_params params{};
    params.flags = flags | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
    params.cq_entries = 4 * kEntries;
    error = -io_uring_queue_init_params(kEntries, &engine->ring_, &params);
    if (error == EINVAL) {
      engine->ring_.ring_fd = -1;
      continue;
    }
    if (error != 0) {
      engine->ring_.ring_fd = -1;
      break;
    }
    if (!CanDo(&engine->ring_)) {
      return rtrs::ErrnoError(EOPNOTSUPP, "io_uring lacks operations");
    }
    return engine;
  }
  return rtrs::ErrnoError(error, "io_uring_setup");
}

UringEngine::~UringEngine() {
  if (ring_.ring_fd >= 0) io_uring_queue_exit(&ring_);
}

void UringEngine::EnableOnce() {
  if (enabled_) return;
  enabled_ = true;
  // Not by io_uring_enable_rings, which liburing 2.3 declares but does not
  // export.
  if (syscall(SYS_io_uring_register, ring_.ring_fd,
              IORING_REGISTER_ENABLE_RINGS, nullptr, 0) < 0) {
    RTRS_LOG(warn, "{}: using threads instead",
             rtrs::ErrnoError(errno, "io_uring cannot be enabled"));
    return;
  }
  // The ring itself wakes a poller only when completions are posted, which with
  // IORING_SETUP_DEFER_TASKRUN waits for the poller.
  if (const int error = -io_uring_register_eventfd(&ring_, event_.fd())) {
    RTRS_LOG(warn, "{}: using threads instead",
             rtrs::ErrnoError(error, "io_uring cannot signal completions"));
    return;
  }
  io_uring_cq_eventfd_toggle(&ring_, false);
  usable_ = true;
  io_uring_register_ring_fd(&ring_);  // only saves time
  files_ = io_uring_register_files_sparse(&ring_, kFiles) == 0;
  memories_ = io_uring_register_buffers_sparse(&ring_, kMemories) == 0;
  for (int16_t slot = kMemories - 1; memories_ && slot >= 0; --slot) {
    free_memories_.push_back(slot);
  }
  RTRS_LOG(debug,
           "io_uring enabled: setup flags {:#x}, registered files {}, "
           "registered memory {}",
           flags_, files_, memories_);
}

bool UringEngine::RegisterFile(const Backing& backing) {
  if (!files_ || backing.index() >= kFiles) return false;
  uint64_t& serial = serials_[backing.index()];
  if (serial == backing.serial()) return true;
  const int fd = backing.fd();
  if (io_uring_register_files_update(&ring_, backing.index(), &fd, 1) != 1) {
    return false;
  }
  serial = backing.serial();
  return true;
}

void UringEngine::ForgetFile(uint32_t index, uint64_t serial) {
  if (index >= kFiles || serials_[index] != serial) return;
  const int none = -1;
  io_uring_register_files_update(&ring_, index, &none, 1);
  serials_[index] = 0;
}

int UringEngine::RegisterMemory(SessionMemory* memory) {
  if (!memories_ || memory == nullptr) return SessionMemory::kRefused;
  int16_t& slot = memory->slots[static_cast<size_t>(worker_)];
  if (slot != SessionMemory::kUntried) return slot;
  slot = SessionMemory::kRefused;
  if (memory->bytes.size() > kMaxMemory || free_memories_.empty()) return slot;
  const iovec iov{memory->bytes.data(), memory->bytes.size()};
  const __u64 tag = 0;
  const int16_t free = free_memories_.back();
  if (io_uring_register_buffers_update_tag(&ring_, free, &iov, &tag, 1) != 1) {
    RTRS_LOG_EVERY(info, absl::Seconds(60),
                   "memory of a session cannot be registered with io_uring, "
                   "see RLIMIT_MEMLOCK; direct I/O is a little slower");
    return slot;
  }
  free_memories_.pop_back();
  slot = free;
  return slot;
}

void UringEngine::ForgetMemory(int16_t slot) {
  if (slot < 0) return;
  const iovec none{};
  const __u64 tag = 0;
  io_uring_register_buffers_update_tag(&ring_, slot, &none, &tag, 1);
  free_memories_.push_back(slot);
}

void UringEngine::Submit(StorageOp* op) {
  EnableOnce();
  const bool transfer =
      op->kind == StorageOp::Kind::kRead || op->kind == StorageOp::Kind::kWrite;
  if (!usable_ || !(transfer || op->kind == StorageOp::Kind::kSync) ||
      (transfer && !IsAligned(*op))) {
    fallback_->Submit(op);
    return;
  }
  ++in_flight_;
  op->next = nullptr;
  *waiting_tail_ = op;
  waiting_tail_ = &op->next;
}

void UringEngine::PrepareOne(StorageOp* op, io_uring_sqe* sqe) {
  const Backing& backing = *op->backing;
  const bool registered = RegisterFile(backing);
  const int fd = registered ? static_cast<int>(backing.index()) : backing.fd();
  if (op->kind == StorageOp::Kind::kSync) {
    io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
  } else {
    uint8_t* data = op->data + op->moved;
    const unsigned length = op->length - op->moved;
    const uint64_t offset = op->offset + op->moved;
    const int slot = backing.geometry().direct ? RegisterMemory(op->memory)
                                               : SessionMemory::kRefused;
    if (op->kind == StorageOp::Kind::kRead) {
      if (slot >= 0) {
        io_uring_prep_read_fixed(sqe, fd, data, length, offset, slot);
      } else {
        io_uring_prep_read(sqe, fd, data, length, offset);
      }
    } else {
      if (slot >= 0) {
        io_uring_prep_write_fixed(sqe, fd, data, length, offset, slot);
      } else {
        io_uring_prep_write(sqe, fd, data, length, offset);
      }
      if (op->dsync) sqe->rw_flags = RWF_DSYNC;
    }
    sqe->ioprio = op->priority;
  }
  if (registered) sqe->flags |= IOSQE_FIXED_FILE;
  io_uring_sqe_set_data(sqe, op);
}

void UringEngine::Prepare() {
  while (waiting_head_ != nullptr) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) return;
    StorageOp* op = waiting_head_;
    waiting_head_ = op->next;
    if (waiting_head_ == nullptr) waiting_tail_ = &waiting_head_;
    PrepareOne(op, sqe);
  }
}

void UringEngine::Completed(StorageOp* op, int result) {
  if (result == -EAGAIN || result == -ECANCELED) {
    // The kernel could not do it this way just now.
    --in_flight_;
    fallback_->Submit(op);
    return;
  }
  int error = result < 0 ? -result : 0;
  if (op->kind == StorageOp::Kind::kSync ? result == -EINTR
                                         : !Advance(op, result, &error)) {
    op->next = nullptr;
    *waiting_tail_ = op;
    waiting_tail_ = &op->next;
    return;
  }
  --in_flight_;
  op->done(op, error);
}

bool UringEngine::Progress() {
  if (in_flight_ == 0) return false;
  if (armed_) {
    io_uring_cq_eventfd_toggle(&ring_, false);
    armed_ = false;
  }
  bool any = false;
  do {
    Prepare();
    if (io_uring_sq_ready(&ring_) == 0) break;
    // What completes at once is there when the call returns, without another.
    // EBUSY and EAGAIN: completions must be reaped first.
    if (io_uring_submit_and_get_events(&ring_) <= 0) break;
    any = true;
  } while (waiting_head_ != nullptr);

  io_uring_cqe* cqes[kBatch];
  unsigned n = 0;
  while ((n = io_uring_peek_batch_cqe(&ring_, cqes, kBatch)) > 0) {
    any = true;
    StorageOp* ops[kBatch];
    int results[kBatch];
    for (unsigned i = 0; i < n; ++i) {
      ops[i] = static_cast<StorageOp*>(io_uring_cqe_get_data(cqes[i]));
      results[i] = cqes[i]->res;
    }
    io_uring_cq_advance(&ring_, n);
    for (unsigned i = 0; i < n; ++i) Completed(ops[i], results[i]);
  }
  return any;
}

bool UringEngine::Arm() {
  // Also when nothing is in flight: what woke the worker is still raised, and
  // would not let it sleep.
  event_.Clear();
  if (in_flight_ == 0) return true;
  if (waiting_head_ != nullptr || io_uring_sq_ready(&ring_) != 0) return false;
  io_uring_cq_eventfd_toggle(&ring_, true);
  armed_ = true;
  // The kernel signals what completes from here on; look for what has before.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  io_uring_cqe* cqe = nullptr;
  return io_uring_peek_cqe(&ring_, &cqe) != 0;
}

}  // namespace rnbd::server
