#include "server/verifier_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "rtrs/base/log.h"
#include "server/unique_fd.h"

namespace rnbd::server {
namespace {

constexpr size_t kMaxFile = 256;  // bytes; boot id and secret are shorter

// Whether nobody but us can have written it.
bool IsOurs(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
         (st.st_mode & 077) == 0 && st.st_nlink == 1;
}

}  // namespace

VerifierSecret::VerifierSecret(std::string directory, std::string boot_id,
                               rtrs::Random* random)
    : path_(absl::StrCat(std::move(directory), "/rnbd-server-", geteuid(),
                         ".verifier")),
      value_(LoadOrMake(boot_id, random)) {}

VerifierSecret VerifierSecret::System() {
  std::string boot_id;
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::getline(file, boot_id);
  return VerifierSecret("/dev/shm", std::move(boot_id), rtrs::Random::System());
}

uint64_t VerifierSecret::LoadOrMake(const std::string& boot_id,
                                    rtrs::Random* random) const {
  const uint64_t fresh = random->Uint64();
  if (boot_id.empty()) return fresh;
  const UniqueFd fd(
      open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.is_set() || !IsOurs(fd.get()) || flock(fd.get(), LOCK_EX) != 0) {
    RTRS_LOG(info,
             "{} cannot be used: after a restart of the server clients have to "
             "take unflushed writes for lost",
             path_);
    return fresh;
  }
  char buffer[kMaxFile];
  const ssize_t length = pread(fd.get(), buffer, sizeof(buffer), 0);
  if (length > 0) {
    const std::vector<std::string> words = absl::StrSplit(
        absl::string_view(buffer, static_cast<size_t>(length)), ' ');
    uint64_t kept = 0;
    if (words.size() == 2 && words[0] == boot_id &&
        absl::SimpleAtoi(words[1], &kept)) {
      return kept;
    }
  }
  const std::string text = absl::StrCat(boot_id, " ", fresh);
  if (ftruncate(fd.get(), 0) != 0 ||
      pwrite(fd.get(), text.data(), text.size(), 0) !=
          static_cast<ssize_t>(text.size())) {
    Forget();
  }
  return fresh;
}

void VerifierSecret::Forget() const {
  if (unlink(path_.c_str()) != 0 && errno != ENOENT) {
    RTRS_LOG(err,
             "cannot remove {} after a failed write to stable storage ({}): do "
             "not restart the server before all clients have flushed",
             path_, strerror(errno));
  }
}

}  // namespace rnbd::server
