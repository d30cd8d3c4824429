// From a device name in OPEN to an open descriptor, without a way out of the
// search path. wire.md §7.4.
//
// What is served, and nothing else:
//  - a regular file or block device below the root (the search path, with
//    %SESSNAME% replaced), also through symbolic links that stay below it,
//    absolute ones included;
//  - a block device outside, when the name ends at a symbolic link below the
//    root that leads to its node.
// Everything is decided on descriptors that are open already, so that nobody
// can exchange a file between look and use.
#ifndef SERVER_EXPORT_PATH_H_
#define SERVER_EXPORT_PATH_H_

#include <sys/stat.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "rtrs/base/unique_fd.h"
#include "rtrs/wire/rnbd_messages.h"

namespace rnbd::server {

struct OpenedExport {
  rtrs::UniqueFd fd;  // O_RDONLY for ro, else O_RDWR
  struct stat st {};  // of that descriptor
  bool block_device = false;
  std::string path;  // as joined, for messages
};

// Any thread; opening may block.
class ExportPath {
 public:
  static constexpr absl::string_view kSessionName = "%SESSNAME%";

  // Checks --dev_search_path: absolute, not too long, what stands before
  // %SESSNAME% is a directory.
  static absl::Status Check(absl::string_view search_path);

  explicit ExportPath(std::string search_path);
  virtual ~ExportPath() = default;

  // The root and the path of a device, joined as the kernel does: what stands
  // behind %SESSNAME% is dropped, runs of slashes become one. EINVAL for "..",
  // an empty name, or a result of 4096 bytes or more.
  absl::StatusOr<std::string> Root(absl::string_view session_name) const;
  absl::StatusOr<std::string> Join(absl::string_view session_name,
                                   absl::string_view device_name) const;

  // Errors: as Join; EACCES when the path leads out of the root; ENOTBLK when
  // it ends at something else than a block device or a regular file; what the
  // file system says otherwise.
  absl::StatusOr<OpenedExport> Open(absl::string_view session_name,
                                    absl::string_view device_name,
                                    wire::AccessMode mode) const;

 protected:
  // Overridden where there is no block device to test with.
  virtual bool IsBlockDevice(const struct stat& st) const;

 private:
  // A descriptor (O_PATH) of the root, which lies below the part of the search
  // path before %SESSNAME% even if the session's directory is a link.
  absl::StatusOr<rtrs::UniqueFd> OpenRoot(absl::string_view session_name) const;

  const std::string search_path_;
};

}  // namespace rnbd::server

#endif  // SERVER_EXPORT_PATH_H_
