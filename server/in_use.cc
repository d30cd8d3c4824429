#include "server/in_use.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/log.h"
#include "rtrs/base/unique_fd.h"

namespace rnbd::server {
namespace {

// Where a file system on the block device is mounted, or empty.
std::string MountPoint(dev_t device, const std::string& proc) {
  std::ifstream mounts(absl::StrCat(proc, "/self/mountinfo"));
  const std::string wanted = absl::StrCat(major(device), ":", minor(device));
  std::string line;
  while (std::getline(mounts, line)) {
    // "36 35 98:0 /root /mount/point options ..."
    std::istringstream fields(line);
    std::string id, parent, number, root, point;
    if (fields >> id >> parent >> number >> root >> point && number == wanted) {
      return point;
    }
  }
  return "";
}

// The loop device that has the file as its disk, or empty.
std::string LoopDevice(const struct stat& st, const std::string& sysfs) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(
           absl::StrCat(sysfs, "/block"), error)) {
    std::ifstream file(entry.path() / "loop" / "backing_file");
    std::string path;
    struct stat backing {};
    if (std::getline(file, path) && stat(path.c_str(), &backing) == 0 &&
        backing.st_dev == st.st_dev && backing.st_ino == st.st_ino) {
      return entry.path().filename().string();
    }
  }
  return "";
}

// Somebody holds the block device exclusively: a mounted file system (also on
// one of its partitions), a volume group, a RAID, swap.
bool HeldExclusively(int fd) {
  const rtrs::UniqueFd probe(open(absl::StrCat("/proc/self/fd/", fd).c_str(),
                                  O_RDONLY | O_EXCL | O_CLOEXEC));
  return !probe.is_set() && errno == EBUSY;
}

}  // namespace

std::string UseOf(const OpenedExport& opened, const std::string& proc,
                  const std::string& sysfs) {
  if (!opened.block_device) {
    const std::string loop = LoopDevice(opened.st, sysfs);
    return loop.empty() ? "" : absl::StrCat("attached to ", loop);
  }
  const std::string point = MountPoint(opened.st.st_rdev, proc);
  if (!point.empty()) return absl::StrCat("mounted on ", point);
  if (HeldExclusively(opened.fd.get())) {
    return "held by a file system, a volume group, a RAID or swap";
  }
  return "";
}

void WarnIfInUse(const OpenedExport& opened) {
  const std::string use = UseOf(opened, "/proc", "/sys");
  if (use.empty()) return;
  RTRS_LOG(warn,
           "{} is {} on this machine: writing to it from elsewhere too will "
           "damage its data",
           absl::CHexEscape(opened.path), use);
}

}  // namespace rnbd::server
