#include "rtrs/base/epoll_fd.h"

#include <errno.h>
#include <sys/epoll.h>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"

namespace rtrs {

absl::StatusOr<EpollFd> EpollFd::Create() {
  UniqueFd fd(epoll_create1(EPOLL_CLOEXEC));
  if (!fd.is_set()) return ErrnoError(errno, "epoll_create1");
  return EpollFd(std::move(fd));
}

absl::Status EpollFd::Watch(int fd, uint32_t events) const {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return ErrnoError(errno, absl::StrCat("epoll_ctl for descriptor ", fd));
  }
  return absl::OkStatus();
}

}  // namespace rtrs
