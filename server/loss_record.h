// What write verifiers need to know beyond the life of a server process: which
// boot of the machine this is, and on which devices writes could not be brought
// to stable storage since. Design decisions 6 and 9.
//
// A server that is killed loses no acknowledged write: what it had taken lies
// in the page cache or in the device. A machine that goes down loses what was
// not flushed, and so does a failed sync, of which Linux tells once only. So
// verifiers are made of the boot's id and of a count of failed syncs, which is
// kept in one small file per device that had any, in a directory that is gone
// after a reboot or may stay. Without such a directory each start of the server
// has to count as a loss.
#ifndef SERVER_LOSS_RECORD_H_
#define SERVER_LOSS_RECORD_H_

#include <cstdint>
#include <string>

#include "server/device_key.h"

namespace rnbd::server {

// Any thread.
class LossRecord {
 public:
  // Keeps the counts in `directory`, which is made if it is missing; "" keeps
  // nothing.
  explicit LossRecord(std::string directory);
  // $RUNTIME_DIRECTORY (systemd), else /run/rnbd-server, else below
  // $XDG_RUNTIME_DIR, else in /dev/shm: the first that is ours and can be
  // written to; "" if none can.
  static std::string DefaultDirectory();

  // Whether what is counted outlives the process.
  bool persistent() const { return !directory_.empty(); }
  // Failed syncs of the device that were counted, 0 if none was.
  uint64_t Count(const DeviceKey& key) const;
  // Counts one more and returns how many that makes, at least `least`.
  uint64_t Add(const DeviceKey& key, uint64_t least);

 private:
  std::string FileOf(const DeviceKey& key) const;

  std::string directory_;
};

// The start of all write verifiers: the same for every start of the server in
// one boot of the machine if `record` is persistent, else random.
uint64_t VerifierSecret(const LossRecord& record);

}  // namespace rnbd::server

#endif  // SERVER_LOSS_RECORD_H_
