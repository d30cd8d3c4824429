// UniqueFd, EventFd and EpollFd.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "rtrs/base/epoll_fd.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/event_fd.h"
#include "rtrs/base/unique_fd.h"

namespace rtrs {
namespace {

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

bool IsReadable(int fd) {
  pollfd poll_fd = {fd, POLLIN, 0};
  return poll(&poll_fd, 1, 0) == 1;
}

TEST(UniqueFdTest, ClosesWhatItOwns) {
  int raw = -1;
  {
    UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
    raw = fd.get();
    UniqueFd other(std::move(fd));
    EXPECT_EQ(other.get(), raw);
    EXPECT_TRUE(IsOpen(raw));
  }
  EXPECT_FALSE(IsOpen(raw));
}

TEST(UniqueFdTest, AssignmentClosesWhatWasOwned) {
  UniqueFd fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const int first = fd.get();
  const UniqueFd unused(open("/dev/null", O_RDONLY | O_CLOEXEC));
  fd = UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_NE(fd.get(), first);
  EXPECT_FALSE(IsOpen(first));
}

TEST(EventFdTest, StaysRaisedUntilItIsCleared) {
  const auto event = EventFd::Create();
  ASSERT_TRUE(event.ok());
  EXPECT_FALSE(IsReadable(event->fd()));
  EXPECT_FALSE(event->Clear());
  event->Raise();
  event->Raise();
  EXPECT_TRUE(IsReadable(event->fd()));
  EXPECT_TRUE(event->Clear());
  EXPECT_FALSE(IsReadable(event->fd()));
}

TEST(EpollFdTest, IsReadableWhileOneOfThemIs) {
  const auto event = EventFd::Create();
  const auto ignored = EventFd::Create();
  const auto epoll = EpollFd::Create();
  ASSERT_TRUE(event.ok() && ignored.ok() && epoll.ok());
  ASSERT_TRUE(epoll->Watch(event->fd(), EPOLLIN).ok());
  ASSERT_TRUE(epoll->Watch(ignored->fd(), 0).ok());
  ignored->Raise();
  EXPECT_FALSE(IsReadable(epoll->fd()));
  event->Raise();
  EXPECT_TRUE(IsReadable(epoll->fd()));
  epoll_event ready{};
  ASSERT_EQ(epoll_wait(epoll->fd(), &ready, 1, 0), 1);
  EXPECT_EQ(ready.data.fd, event->fd());
}

TEST(EpollFdTest, SaysWhatItCannotWatch) {
  const auto epoll = EpollFd::Create();
  ASSERT_TRUE(epoll.ok());
  const absl::Status status = epoll->Watch(-1, EPOLLIN);
  EXPECT_EQ(ErrnoOf(status), EBADF);
}

TEST(DescriptorsTest, RunningOutIsAnError) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const absl::Cleanup restore = [&before] {
    setrlimit(RLIMIT_NOFILE, &before);
  };
  rlimit none = before;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_EQ(ErrnoOf(EventFd::Create().status()), EMFILE);
  EXPECT_EQ(ErrnoOf(EpollFd::Create().status()), EMFILE);
}

}  // namespace
}  // namespace rtrs
