// Storage operations by io_uring, one ring per worker: reads, writes and
// syncs; the rest goes to a PoolEngine.
//
// Files are registered when they are first used here, and so is the memory of
// a session, for O_DIRECT only, where it saves looking up pages.
#ifndef SERVER_URING_ENGINE_H_
#define SERVER_URING_ENGINE_H_

#include <liburing.h>

#include <array>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "rtrs/base/event_fd.h"
#include "server/storage_engine.h"

namespace rnbd::server {

// Belongs to one worker. Made in any thread; the first Progress or Submit
// makes its thread the only one that may use it.
class UringEngine : public StorageEngine {
 public:
  // Fails where the kernel has no io_uring, forbids it, or lacks what we need.
  // `fallback` is borrowed, for operations that io_uring cannot do.
  static absl::StatusOr<std::unique_ptr<UringEngine>> Create(
      int worker, StorageEngine* fallback);
  ~UringEngine() override;

  void Submit(StorageOp* op) override;
  void ForgetFile(uint32_t index, uint64_t serial) override;
  void ForgetMemory(int16_t slot) override;
  const char* name() const override { return "io_uring"; }

  bool Progress() override;
  size_t in_flight() const override { return in_flight_; }
  int fd() const override { return event_.fd(); }
  bool Arm() override;

 private:
  static constexpr unsigned kEntries = 1024;
  static constexpr unsigned kFiles = 512;
  static constexpr int kMemories = 256;

  UringEngine(int worker, StorageEngine* fallback, unsigned flags,
              rtrs::EventFd event)
      : worker_(worker),
        fallback_(fallback),
        flags_(flags),
        event_(std::move(event)) {
    ring_.ring_fd = -1;
  }

  void EnableOnce();
  // Gives the waiting operations to the ring as far as it has room.
  void Prepare();
  void PrepareOne(StorageOp* op, io_uring_sqe* sqe);
  // True if `backing` can be named by its index.
  bool RegisterFile(const Backing& backing);
  // The slot of the memory, or negative.
  int RegisterMemory(SessionMemory* memory);
  void Completed(StorageOp* op, int result);

  const int worker_;  // index
  StorageEngine* const fallback_;
  const unsigned flags_;       // IORING_SETUP_*
  const rtrs::EventFd event_;  // raised while armed_
  io_uring ring_{};
  bool armed_ = false;
  bool enabled_ = false;
  bool usable_ = false;  // the ring could be enabled
  bool files_ = false;   // tables could be registered
  bool memories_ = false;
  size_t in_flight_ = 0;
  // Serial number of the file at each index of the kernel's table, 0: none.
  std::array<uint64_t, kFiles> serials_{};
  std::vector<int16_t> free_memories_;
  // Operations that found no room in the ring, oldest first.
  StorageOp* waiting_head_ = nullptr;
  StorageOp** waiting_tail_ = &waiting_head_;
};

}  // namespace rnbd::server

#endif  // SERVER_URING_ENGINE_H_
