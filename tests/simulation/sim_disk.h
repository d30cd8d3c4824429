// A disk of the simulation: a file with a volatile write cache in front of
// stable storage. The file is what the cache and the storage hold together;
// what was not synced is lost when the power goes, but for any subset.
// One thread.
#ifndef TESTS_SIMULATION_SIM_DISK_H_
#define TESTS_SIMULATION_SIM_DISK_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/base/random.h"
#include "server/storage_engine.h"

namespace rnbd::simulation {

// Faults of all disks. Chances are per million, of each operation.
struct DiskFaults {
  uint32_t error = 0;       // EIO; a write may still have happened
  uint32_t sync_error = 0;  // EIO of a sync: part of the cache is dropped
  bool full = false;        // ENOSPC for whatever writes
  bool stalled = false;     // nothing is done at all
};

class SimDisk {
 public:
  // Makes the file `path`, of zeros. `random` is borrowed.
  SimDisk(const std::string& path, uint32_t sectors, rtrs::Random* random);
  ~SimDisk();
  SimDisk(const SimDisk&) = delete;
  SimDisk& operator=(const SimDisk&) = delete;

  ino_t inode() const { return inode_; }
  // Does `op`, with the faults that strike; 0 or an errno.
  int Perform(server::StorageOp* op, const DiskFaults& faults);
  // Writes a little of the cache to stable storage.
  void WriteBack();
  // Loses what is in the cache, but for any subset.
  void CutPower();
  // How often unsynced data was lost, or may have been. What a write verifier
  // has to tell.
  uint64_t losses() const { return losses_; }
  // The cache holds nothing that stable storage lacks.
  bool clean() const { return Content() == stable_; }
  std::vector<uint8_t> Content() const;

 private:
  void MarkDirty(const server::StorageOp& op);
  void Sync(uint32_t first, uint32_t count);
  // A sync that fails: what it could not write is never written any more.
  void FailSync();

  rtrs::Random* const random_;
  const uint32_t sectors_;
  int fd_ = -1;
  ino_t inode_ = 0;
  std::vector<uint8_t> stable_;
  std::vector<bool> dirty_;  // by sector: in the cache, and will be written
  uint64_t losses_ = 0;
};

// All disks, and what befalls them.
struct SimDisks {
  std::vector<std::unique_ptr<SimDisk>> list;
  DiskFaults faults;
  uint64_t struck = 0;  // operations that failed

  SimDisk* Find(int fd) const;
};

}  // namespace rnbd::simulation

#endif  // TESTS_SIMULATION_SIM_DISK_H_
