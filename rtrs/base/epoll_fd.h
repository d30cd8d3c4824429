// An epoll descriptor: readable while one of those that it watches is.
#ifndef RTRS_BASE_EPOLL_FD_H_
#define RTRS_BASE_EPOLL_FD_H_

#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rtrs/base/unique_fd.h"

namespace rtrs {

class EpollFd {
 public:
  // Errors: of epoll_create1(2), with their errno.
  static absl::StatusOr<EpollFd> Create();

  // Without a descriptor: nothing but assigning to it and fd() may be called.
  EpollFd() = default;

  // Owned; -1 if there is none.
  int fd() const { return fd_.get(); }

  // Watches `fd` for `events` (EPOLLIN or others), which epoll_wait(2) tells
  // with it in data.fd. Until `fd` is closed. Errors: of epoll_ctl(2).
  absl::Status Watch(int fd, uint32_t events) const;

 private:
  explicit EpollFd(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace rtrs

#endif  // RTRS_BASE_EPOLL_FD_H_
