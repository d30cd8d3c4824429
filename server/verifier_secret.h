// The secret behind write verifiers, kept from one start of the server to the
// next as long as the machine runs. Design decisions 6 and 9.
//
// When only the server's process dies, nothing that it has answered is lost:
// it is in the page cache or on the disk. Clients are told so by the same
// verifier, and need not fail a flush. A machine that starts anew, and a write
// that could not be brought to stable storage, need another one.
//
// Any thread. Without a place to keep it the secret is new with each start,
// which errs on the safe side.
#ifndef SERVER_VERIFIER_SECRET_H_
#define SERVER_VERIFIER_SECRET_H_

#include <cstdint>
#include <string>

#include "rtrs/base/random.h"

namespace rnbd::server {

class VerifierSecret {
 public:
  // `directory`: private files of ours in it live no longer than the machine
  // runs, or say when it was started (`boot_id`, one line).
  VerifierSecret(std::string directory, std::string boot_id,
                 rtrs::Random* random);
  // /dev/shm and the kernel's boot_id.
  static VerifierSecret System();

  uint64_t value() const { return value_; }
  // A write was lost after it had been answered: the next start of the server
  // must have another secret. (This one counts the loss by itself.)
  void Forget() const;

 private:
  uint64_t LoadOrMake(const std::string& boot_id, rtrs::Random* random) const;

  std::string path_;
  uint64_t value_ = 0;
};

}  // namespace rnbd::server

#endif  // SERVER_VERIFIER_SECRET_H_
