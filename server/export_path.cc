#include "server/export_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/status_macros.h"

namespace rnbd::server {
namespace {

constexpr size_t kMaxPath = 4096;  // of the joined path, with its NUL

std::string CollapseSlashes(absl::string_view path) {
  std::string out;
  for (const char c : path) {
    if (c != '/' || out.empty() || out.back() != '/') out.push_back(c);
  }
  return out;
}

// Opens with O_PATH, following symbolic links but not those of /proc, which
// lead to files that have nothing to do with the path.
rtrs::UniqueFd OpenPath(int dir_fd, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(O_PATH | O_CLOEXEC | flags);
  how.resolve = RESOLVE_NO_MAGICLINKS;
  int fd = static_cast<int>(
      syscall(SYS_openat2, dir_fd, path.c_str(), &how, sizeof(how)));
  if (fd < 0 && errno == ENOSYS) {
    // Before Linux 5.6. What counts is decided on the descriptor anyway.
    fd = openat(dir_fd, path.c_str(), O_PATH | O_CLOEXEC | flags);
  }
  return rtrs::UniqueFd(fd);
}

std::string ProcPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

// Where the object of `fd` is now, by the way it was reached.
absl::StatusOr<std::string> LocationOf(int fd) {
  char buffer[PATH_MAX];
  const ssize_t n = readlink(ProcPath(fd).c_str(), buffer, sizeof(buffer));
  if (n < 0) return rtrs::ErrnoError(errno, "readlink in /proc/self/fd");
  if (static_cast<size_t>(n) == sizeof(buffer) || buffer[0] != '/') {
    return rtrs::ErrnoError(EACCES, "no path leads to the file any more");
  }
  return std::string(buffer, static_cast<size_t>(n));
}

bool IsBelow(absl::string_view path, absl::string_view root) {
  if (root == "/") return true;
  return path == root ||
         (path.size() > root.size() && absl::StartsWith(path, root) &&
          path[root.size()] == '/');
}

absl::Status LeavesRoot(absl::string_view path) {
  return rtrs::ErrnoError(
      EACCES, absl::StrCat(path,
                           " leads out of the search path, which only a "
                           "link to a block device may do"));
}

}  // namespace

absl::Status ExportPath::Check(absl::string_view search_path) {
  const auto error = [search_path](int number, absl::string_view what) {
    return rtrs::ErrnoError(
        number, absl::StrCat("--dev_search_path=", search_path, ": ", what));
  };
  if (search_path.empty() || search_path[0] != '/') {
    return error(EINVAL, "must be an absolute path");
  }
  if (search_path.size() >= kMaxPath) {
    return error(ENAMETOOLONG, "must be shorter than 4096 bytes");
  }
  const std::string base(search_path.substr(0, search_path.find(kSessionName)));
  if (!OpenPath(AT_FDCWD, base, O_DIRECTORY).is_set()) {
    return error(errno, absl::StrCat("no directory ", base));
  }
  return absl::OkStatus();
}

ExportPath::ExportPath(std::string search_path)
    : search_path_(std::move(search_path)) {}

bool ExportPath::IsBlockDevice(const struct stat& st) const {
  return S_ISBLK(st.st_mode);
}

absl::StatusOr<std::string> ExportPath::Root(
    absl::string_view session_name) const {
  const size_t mark =
      search_path_.find(kSessionName.data(), 0, kSessionName.size());
  if (mark == std::string::npos) return CollapseSlashes(search_path_);
  if (session_name.empty() || absl::StrContains(session_name, '/') ||
      absl::StrContains(session_name, '.')) {
    return rtrs::ErrnoError(
        EINVAL, absl::StrCat("session name \"", absl::CHexEscape(session_name),
                             "\" cannot be part of a path"));
  }
  return CollapseSlashes(
      absl::StrCat(search_path_.substr(0, mark), "/", session_name));
}

absl::StatusOr<std::string> ExportPath::Join(
    absl::string_view session_name, absl::string_view device_name) const {
  if (device_name.empty() || absl::StrContains(device_name, '\0')) {
    return rtrs::ErrnoError(EINVAL, "empty device name");
  }
  if (absl::StrContains(device_name, "..")) {
    return rtrs::ErrnoError(
        EINVAL, absl::StrCat("device name \"", absl::CHexEscape(device_name),
                             "\" contains \"..\""));
  }
  RTRS_ASSIGN_OR_RETURN(const std::string root, Root(session_name));
  std::string joined = CollapseSlashes(absl::StrCat(root, "/", device_name));
  if (joined.size() >= kMaxPath) {
    return rtrs::ErrnoError(EINVAL, "path of 4096 bytes or more");
  }
  return joined;
}

absl::StatusOr<rtrs::UniqueFd> ExportPath::OpenRoot(
    absl::string_view session_name) const {
  RTRS_ASSIGN_OR_RETURN(const std::string path, Root(session_name));
  rtrs::UniqueFd root = OpenPath(AT_FDCWD, path, O_DIRECTORY);
  if (!root.is_set()) return rtrs::ErrnoError(errno, path);
  if (!absl::StrContains(search_path_, kSessionName)) return root;

  const std::string base_path = path.substr(0, path.rfind('/') + 1);
  const rtrs::UniqueFd base = OpenPath(AT_FDCWD, base_path, O_DIRECTORY);
  if (!base.is_set()) return rtrs::ErrnoError(errno, base_path);
  RTRS_ASSIGN_OR_RETURN(const std::string location, LocationOf(root.get()));
  RTRS_ASSIGN_OR_RETURN(const std::string base_location,
                        LocationOf(base.get()));
  if (!IsBelow(location, base_location)) return LeavesRoot(path);
  return root;
}

absl::StatusOr<OpenedExport> ExportPath::Open(absl::string_view session_name,
                                              absl::string_view device_name,
                                              wire::AccessMode mode) const {
  OpenedExport result;
  RTRS_ASSIGN_OR_RETURN(result.path, Join(session_name, device_name));
  const std::string shown = absl::CHexEscape(result.path);
  RTRS_ASSIGN_OR_RETURN(const rtrs::UniqueFd root, OpenRoot(session_name));
  RTRS_ASSIGN_OR_RETURN(const std::string root_location,
                        LocationOf(root.get()));

  // The directory must lie below the root, so that a link to a directory
  // outside does not open all that is in it.
  const std::string name = CollapseSlashes(absl::StrCat("./", device_name));
  const size_t slash = name.rfind('/');
  const std::string last = name.substr(slash + 1);
  const rtrs::UniqueFd directory =
      OpenPath(root.get(), name.substr(0, slash), O_DIRECTORY);
  if (!directory.is_set()) return rtrs::ErrnoError(errno, shown);
  RTRS_ASSIGN_OR_RETURN(const std::string directory_location,
                        LocationOf(directory.get()));
  if (!IsBelow(directory_location, root_location)) {
    return LeavesRoot(shown);
  }
  const rtrs::UniqueFd node =
      OpenPath(directory.get(), last.empty() ? "." : last, 0);
  if (!node.is_set()) return rtrs::ErrnoError(errno, shown);

  struct stat st {};
  if (fstat(node.get(), &st) != 0) return rtrs::ErrnoError(errno, shown);
  result.block_device = IsBlockDevice(st);
  if (!result.block_device) {
    RTRS_ASSIGN_OR_RETURN(const std::string location, LocationOf(node.get()));
    if (!IsBelow(location, root_location)) return LeavesRoot(shown);
    if (!S_ISREG(st.st_mode)) return rtrs::ErrnoError(ENOTBLK, shown);
  }
  // Opens the very object that was looked at.
  const int access = mode == wire::AccessMode::kRo ? O_RDONLY : O_RDWR;
  result.fd =
      rtrs::UniqueFd(open(ProcPath(node.get()).c_str(), access | O_CLOEXEC));
  if (!result.fd.is_set()) return rtrs::ErrnoError(errno, shown);
  if (fstat(result.fd.get(), &result.st) != 0) {
    return rtrs::ErrnoError(errno, shown);
  }
  if (IsBlockDevice(result.st) != result.block_device) {
    return rtrs::ErrnoError(ENOTBLK, shown);
  }
  return result;
}

}  // namespace rnbd::server
