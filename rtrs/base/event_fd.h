// Wakes a thread that sleeps on descriptors.
//
//   RTRS_ASSIGN_OR_RETURN(EventFd event, EventFd::Create());
//   pollfd fd = {event.fd(), POLLIN, 0};  // readable while it is raised
#ifndef RTRS_BASE_EVENT_FD_H_
#define RTRS_BASE_EVENT_FD_H_

#include <utility>

#include "absl/status/statusor.h"
#include "rtrs/base/unique_fd.h"

namespace rtrs {

class EventFd {
 public:
  // Errors: of eventfd(2), with their errno.
  static absl::StatusOr<EventFd> Create();

  // Without a descriptor: nothing but assigning to it and fd() may be called.
  EventFd() = default;

  // Owned; -1 if there is none.
  int fd() const { return fd_.get(); }

  // Any thread; one that is raised stays raised.
  void Raise() const;

  // Any thread. False: it was not raised.
  bool Clear() const;

 private:
  explicit EventFd(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace rtrs

#endif  // RTRS_BASE_EVENT_FD_H_
