#include "rtrs/fabric/softiwarp/tcp_transport.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rtrs/base/epoll_fd.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/event_fd.h"
#include "rtrs/base/status_macros.h"

namespace rtrs::fabric {
namespace {

constexpr int kKeepIdleSeconds = 10;
constexpr int kKeepIntervalSeconds = 5;
constexpr int kKeepCount = 3;
// How long sent bytes may stay unacknowledged.
constexpr unsigned kUserTimeoutMs = 20000;
constexpr uint32_t kDefaultSegment = 536;
// Congestion control within a host.
constexpr absl::string_view kUnpaced = "reno";

// A socket of either kind; what the poller knows.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { close(fd_); }
  int fd() const { return fd_; }
  void Set(int level, int option, int value) const {
    // A kernel without the option works without it.
    (void)setsockopt(fd_, level, option, &value, sizeof(value));
  }

 private:
  int fd_;
};

SocketAddress NameOf(int fd, int (*get)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage storage{};
  socklen_t length = sizeof(storage);
  auto* sa = reinterpret_cast<sockaddr*>(&storage);
  if (get(fd, sa, &length) != 0) return SocketAddress();
  return SocketAddress::FromSockaddr(sa, length).value_or(SocketAddress());
}

// Whether one of this host's interfaces has the address.
bool IsLocal(const SocketAddress& address) {
  if (address.IsLoopback()) return true;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return false;
  bool found = false;
  for (const ifaddrs* i = list; i != nullptr && !found; i = i->ifa_next) {
    if (i->ifa_addr == nullptr) continue;
    auto own =
        SocketAddress::FromSockaddr(i->ifa_addr, sizeof(sockaddr_storage));
    found = own.ok() && own->SameHost(address);
  }
  freeifaddrs(list);
  return found;
}

class TcpStream : public ByteStream, public Socket {
 public:
  explicit TcpStream(int fd) : Socket(fd) {
    Set(IPPROTO_TCP, TCP_NODELAY, 1);
    Set(SOL_SOCKET, SO_KEEPALIVE, 1);
    Set(IPPROTO_TCP, TCP_KEEPIDLE, kKeepIdleSeconds);
    Set(IPPROTO_TCP, TCP_KEEPINTVL, kKeepIntervalSeconds);
    Set(IPPROTO_TCP, TCP_KEEPCNT, kKeepCount);
    Set(IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs);
  }

  void FetchNames() {
    local_ = NameOf(fd(), getsockname);
    peer_ = NameOf(fd(), getpeername);
    stays_on_host_ =
        peer_.is_set() && (peer_.SameHost(local_) || IsLocal(peer_));
    // Within a host nothing can be congested, but BBR, where it is the default,
    // still spreads what is sent over time: 128 KiB writes are 1.6 times as
    // fast without. Every kernel has Reno.
    if (stays_on_host_) {
      (void)setsockopt(fd(), IPPROTO_TCP, TCP_CONGESTION, kUnpaced.data(),
                       kUnpaced.size());
    }
  }

  ssize_t Read(absl::Span<const iovec> to) override {
    ssize_t n;
    do {
      n = to.size() == 1 ? recv(fd(), to[0].iov_base, to[0].iov_len, 0)
                         : readv(fd(), to.data(), static_cast<int>(to.size()));
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
  }

  ssize_t Write(absl::Span<const iovec> from) override {
    ssize_t n;
    do {
      if (from.size() == 1) {
        n = send(fd(), from[0].iov_base, from[0].iov_len, MSG_NOSIGNAL);
      } else {
        msghdr message{};
        message.msg_iov = const_cast<iovec*>(from.data());
        message.msg_iovlen = from.size();
        n = sendmsg(fd(), &message, MSG_NOSIGNAL);
      }
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
  }

  int ConnectResult() override {
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
      return -errno;
    }
    if (error != 0) return -error;
    sockaddr_storage storage;
    length = sizeof(storage);
    if (getpeername(fd(), reinterpret_cast<sockaddr*>(&storage), &length) !=
        0) {
      return errno == ENOTCONN ? -EINPROGRESS : -errno;
    }
    FetchNames();
    return 0;
  }

  void ShutdownWrite() override { (void)shutdown(fd(), SHUT_WR); }

  void Abort() override {
    const linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  }

  const SocketAddress& local_address() const override { return local_; }
  const SocketAddress& peer_address() const override { return peer_; }

  uint32_t max_segment() const override {
    int mss = 0;
    socklen_t length = sizeof(mss);
    if (getsockopt(fd(), IPPROTO_TCP, TCP_MAXSEG, &mss, &length) != 0 ||
        mss <= 0) {
      return kDefaultSegment;
    }
    return static_cast<uint32_t>(mss);
  }

  bool stays_on_host() const override { return stays_on_host_; }

 private:
  // Known once the stream is connected.
  SocketAddress local_;
  SocketAddress peer_;
  bool stays_on_host_ = false;
};

class TcpListener : public StreamListener, public Socket {
 public:
  explicit TcpListener(int fd) : Socket(fd) {}

  absl::StatusOr<std::unique_ptr<ByteStream>> Accept() override {
    const int accepted =
        accept4(fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted < 0) {
      // A connection that died in the queue is not an error of the listener.
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) {
        return nullptr;
      }
      return ErrnoError(errno, absl::StrCat("accept on ", local_.ToString()));
    }
    auto stream = std::make_unique<TcpStream>(accepted);
    stream->FetchNames();
    return stream;
  }
  const SocketAddress& local_address() const override { return local_; }
  void FetchName() { local_ = NameOf(fd(), getsockname); }

 private:
  SocketAddress local_;
};

int FdOf(Pollable* what) {
  return dynamic_cast<Socket&>(*what->Underlying()).fd();
}

class EpollPoller : public Poller {
 public:
  EpollPoller(EpollFd epoll, EventFd wake)
      : epoll_(std::move(epoll)), wake_(std::move(wake)) {
    Control(EPOLL_CTL_ADD, wake_.fd(), kReadable, nullptr);
  }

  absl::Status Add(Pollable* what, uint32_t interest, void* tag) override {
    if (Control(EPOLL_CTL_ADD, FdOf(what), interest, tag) != 0) {
      return ErrnoError(errno, "epoll_ctl");
    }
    return absl::OkStatus();
  }
  void Modify(Pollable* what, uint32_t interest, void* tag) override {
    Control(EPOLL_CTL_MOD, FdOf(what), interest, tag);
  }
  void Remove(Pollable* what) override {
    Control(EPOLL_CTL_DEL, FdOf(what), 0, nullptr);
  }

  int Poll(absl::Span<Ready> out) override {
    std::array<epoll_event, 64> events;
    const int want = static_cast<int>(std::min(out.size(), events.size()));
    const int n = epoll_wait(epoll_.fd(), events.data(), want, 0);
    int stored = 0;
    for (int i = 0; i < n; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      if (event.data.ptr == nullptr) {
        wake_.Clear();
        continue;
      }
      uint32_t interest = 0;
      if (event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) interest |= kReadable;
      if (event.events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        interest |= kWritable;
      }
      out[static_cast<size_t>(stored++)] = {event.data.ptr, interest};
    }
    return stored;
  }
  int fd() const override { return epoll_.fd(); }
  void Wake() override { wake_.Raise(); }

 private:
  int Control(int operation, int fd, uint32_t interest, void* tag) const {
    epoll_event event{};
    if (interest & kReadable) event.events |= EPOLLIN;
    if (interest & kWritable) event.events |= EPOLLOUT;
    event.data.ptr = tag;
    return epoll_ctl(epoll_.fd(), operation, fd, &event);
  }

  const EpollFd epoll_;
  const EventFd wake_;
};

class TcpTransport : public Transport {
 public:
  absl::StatusOr<std::unique_ptr<ByteStream>> Connect(
      const SocketAddress& source, const SocketAddress& destination) override {
    const int fd = socket(destination.family(),
                          SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return ErrnoError(errno, "socket");
    auto stream = std::make_unique<TcpStream>(fd);
    if (source.is_set()) {
      // Lets many connections leave one address: the port is chosen when the
      // destination is known.
      stream->Set(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
      if (bind(fd, source.addr(), source.length()) != 0) {
        return ErrnoError(errno,
                          absl::StrCat("bind to source ", source.HostString()));
      }
    }
    if (connect(fd, destination.addr(), destination.length()) != 0 &&
        errno != EINPROGRESS) {
      return ErrnoError(errno,
                        absl::StrCat("connect to ", destination.ToString()));
    }
    return stream;
  }

  absl::StatusOr<std::unique_ptr<StreamListener>> Listen(
      const SocketAddress& address, int backlog) override {
    const int fd =
        socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return ErrnoError(errno, "socket");
    auto listener = std::make_unique<TcpListener>(fd);
    listener->Set(SOL_SOCKET, SO_REUSEADDR, 1);
    if (address.family() == AF_INET6) {
      listener->Set(IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    if (bind(fd, address.addr(), address.length()) != 0 ||
        listen(fd, backlog) != 0) {
      return ErrnoError(errno,
                        absl::StrCat("listen on TCP ", address.ToString()));
    }
    listener->FetchName();
    return listener;
  }

  absl::StatusOr<std::unique_ptr<Poller>> CreatePoller() override {
    RTRS_ASSIGN_OR_RETURN(EpollFd epoll, EpollFd::Create());
    RTRS_ASSIGN_OR_RETURN(EventFd wake, EventFd::Create());
    return std::make_unique<EpollPoller>(std::move(epoll), std::move(wake));
  }
};

}  // namespace

Transport* SystemTcpTransport() {
  static auto* transport = new TcpTransport;
  return transport;
}

}  // namespace rtrs::fabric
