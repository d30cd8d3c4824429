#include "server/loss_record.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/random.h"
#include "rtrs/base/unique_fd.h"

namespace rnbd::server {
namespace {

bool Usable(const std::string& directory) {
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) return false;
  // Not what somebody else has put there.
  struct stat st {};
  return lstat(directory.c_str(), &st) == 0 && S_ISDIR(st.st_mode) &&
         st.st_uid == geteuid() && access(directory.c_str(), W_OK | X_OK) == 0;
}

std::string FirstLine(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// FNV-1a; the registry mixes further.
uint64_t Hash(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
  return hash;
}

}  // namespace

LossRecord::LossRecord(std::string directory)
    : directory_(std::move(directory)) {
  if (directory_.empty() || Usable(directory_)) return;
  RTRS_LOG(warn, "{}: failed syncs cannot be remembered there: {}", directory_,
           rtrs::ErrnoError(errno, "not writable"));
  directory_.clear();
}

std::string LossRecord::DefaultDirectory() {
  if (const char* given = std::getenv("RUNTIME_DIRECTORY")) {
    if (Usable(given)) return given;
  }
  if (Usable("/run/rnbd-server")) return "/run/rnbd-server";
  if (const char* user = std::getenv("XDG_RUNTIME_DIR")) {
    const std::string own = absl::StrCat(user, "/rnbd-server");
    if (Usable(own)) return own;
  }
  const std::string shared = absl::StrCat("/dev/shm/rnbd-server-", geteuid());
  return Usable(shared) ? shared : "";
}

std::string LossRecord::FileOf(const DeviceKey& key) const {
  return absl::StrCat(directory_, key.block_device ? "/block-" : "/file-",
                      key.device, "-", key.inode);
}

uint64_t LossRecord::Count(const DeviceKey& key) const {
  uint64_t count = 0;
  if (!persistent() ||
      !absl::SimpleAtoi(FirstLine(FileOf(key).c_str()), &count)) {
    return 0;
  }
  return count;
}

uint64_t LossRecord::Add(const DeviceKey& key, uint64_t least) {
  if (!persistent()) return least;
  const uint64_t count = std::max(Count(key) + 1, least);
  // One write of a few bytes that only ever grow: there is no half of it.
  const std::string file = FileOf(key);
  const std::string text = absl::StrCat(count, "\n");
  const rtrs::UniqueFd fd(
      open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.is_set() || pwrite(fd.get(), text.data(), text.size(), 0) !=
                          static_cast<ssize_t>(text.size())) {
    RTRS_LOG(err, "{}: a restart of the server will forget this failure: {}",
             file, rtrs::ErrnoError(errno, "cannot be written"));
  }
  return count;
}

uint64_t VerifierSecret(const LossRecord& record) {
  const std::string boot = FirstLine("/proc/sys/kernel/random/boot_id");
  if (record.persistent() && !boot.empty()) return Hash(boot);
  RTRS_LOG(info,
           "no directory to remember failed syncs in: clients will take a "
           "restart of the server for a loss of what they had not flushed");
  return rtrs::Random::System()->Uint64();
}

}  // namespace rnbd::server
