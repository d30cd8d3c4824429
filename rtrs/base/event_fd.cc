#include "rtrs/base/event_fd.h"

#include <errno.h>
#include <sys/eventfd.h>

#include "rtrs/base/errno_status.h"

namespace rtrs {

absl::StatusOr<EventFd> EventFd::Create() {
  UniqueFd fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd.is_set()) return ErrnoError(errno, "eventfd");
  return EventFd(std::move(fd));
}

// Fails only if the counter is at its maximum: it is readable anyway.
void EventFd::Raise() const { (void)eventfd_write(fd_.get(), 1); }

bool EventFd::Clear() const {
  eventfd_t count;
  return eventfd_read(fd_.get(), &count) == 0;
}

}  // namespace rtrs
