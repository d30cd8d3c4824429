#include "tests/simulation/sim_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "server/backing.h"
#include "server/blocking_io.h"
#include "tests/simulation/disk_model.h"

namespace rnbd::simulation {
namespace {

using Kind = server::StorageOp::Kind;
constexpr uint32_t kSector = DiskModel::kSector;

// The simulation cannot go on without its files.
void MustBe(bool ok) {
  if (!ok) std::abort();
}

}  // namespace

SimDisk::SimDisk(const std::string& path, uint32_t sectors,
                 rtrs::Random* random)
    : random_(random),
      sectors_(sectors),
      fd_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)),
      stable_(size_t{sectors} * kSector),
      dirty_(sectors) {
  struct stat st {};
  MustBe(fd_ >= 0 && ftruncate(fd_, static_cast<off_t>(stable_.size())) == 0 &&
         fstat(fd_, &st) == 0);
  inode_ = st.st_ino;
}

SimDisk::~SimDisk() { close(fd_); }

std::vector<uint8_t> SimDisk::Content() const {
  std::vector<uint8_t> content(stable_.size());
  MustBe(pread(fd_, content.data(), content.size(), 0) ==
         static_cast<ssize_t>(content.size()));
  return content;
}

void SimDisk::MarkDirty(const server::StorageOp& op) {
  const auto first = static_cast<uint32_t>(op.offset / kSector);
  std::fill_n(dirty_.begin() + first, op.length / kSector, true);
}

void SimDisk::Sync(uint32_t first, uint32_t count) {
  const std::vector<uint8_t> content = Content();
  for (uint32_t i = first; i < first + count; ++i) {
    if (!dirty_[i]) continue;
    std::copy_n(content.begin() + i * kSector, kSector,
                stable_.begin() + i * kSector);
    dirty_[i] = false;
  }
}

void SimDisk::FailSync() {
  ++losses_;
  for (uint32_t i = 0; i < sectors_; ++i) {
    if (random_->Below(2) == 0) Sync(i, 1);
  }
  dirty_.assign(sectors_, false);
}

void SimDisk::WriteBack() {
  for (int i = 0; i < 4; ++i) {
    Sync(static_cast<uint32_t>(random_->Below(sectors_)), 1);
  }
}

void SimDisk::CutPower() {
  ++losses_;
  for (uint32_t i = 0; i < sectors_; ++i) {
    if (dirty_[i] && random_->Below(2) == 0) Sync(i, 1);
  }
  dirty_.assign(sectors_, false);
  MustBe(pwrite(fd_, stable_.data(), stable_.size(), 0) ==
         static_cast<ssize_t>(stable_.size()));
}

int SimDisk::Perform(server::StorageOp* op, const DiskFaults& faults) {
  const auto strikes = [this](uint32_t per_million) {
    return per_million != 0 && random_->Below(1000000) < per_million;
  };
  if (op->kind == Kind::kRead) {
    return strikes(faults.error) ? EIO : server::PerformBlocking(op);
  }
  if (op->kind == Kind::kSync) {
    if (strikes(faults.sync_error)) {
      FailSync();
      return EIO;
    }
    Sync(0, sectors_);
    return 0;
  }
  int error = faults.full ? ENOSPC : strikes(faults.error) ? EIO : 0;
  if (error == 0 || (error == EIO && random_->Below(2) == 0)) {
    const int result = server::PerformBlocking(op);
    if (error == 0) error = result;
    MarkDirty(*op);
  }
  if (error != 0) {
    // The server cannot know what a sync of it would have told.
    if (op->dsync) ++losses_;
    return error;
  }
  if (!op->dsync) return 0;
  if (strikes(faults.sync_error)) {
    FailSync();
    return EIO;
  }
  Sync(static_cast<uint32_t>(op->offset / kSector), op->length / kSector);
  return 0;
}

SimDisk* SimDisks::Find(int fd) const {
  struct stat st {};
  MustBe(fstat(fd, &st) == 0);
  const auto found = std::find_if(
      list.begin(), list.end(),
      [&](const auto& disk) { return disk->inode() == st.st_ino; });
  return found == list.end() ? nullptr : found->get();
}

}  // namespace rnbd::simulation
