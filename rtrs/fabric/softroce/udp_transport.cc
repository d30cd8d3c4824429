#include "rtrs/fabric/softroce/udp_transport.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/errqueue.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/fabric/softroce/port_owner.h"

namespace rtrs::softroce {
namespace {

constexpr int kReceiveBatch = 16;
constexpr size_t kReceiveSize = 65536;
constexpr int kWantedBuffer = 8 << 20;
constexpr int kSendBatch = 32;
constexpr absl::Duration kLogInterval = absl::Seconds(5);
constexpr uint32_t kDefaultMtu = 1280;  // every IPv6 link has that

void SetOption(int fd, int level, int option, int value) {
  // A kernel without the option works without it.
  (void)setsockopt(fd, level, option, &value, sizeof(value));
}

int GetOption(int fd, int level, int option) {
  int value = 0;
  socklen_t length = sizeof(value);
  return getsockopt(fd, level, option, &value, &length) == 0 ? value : 0;
}

// The largest buffer that this process may have: beyond the system's limit
// only with CAP_NET_ADMIN.
void EnlargeBuffer(int fd, int forced, int option) {
  const int wanted = kWantedBuffer;
  if (setsockopt(fd, SOL_SOCKET, forced, &wanted, sizeof(wanted)) != 0) {
    SetOption(fd, SOL_SOCKET, option, wanted);
  }
}

class UdpSocket : public DatagramSocket {
 public:
  UdpSocket(int fd, const SocketAddress& local) : fd_(fd), local_(local) {
    const bool ipv4 = local.family() == AF_INET;
    // Unconnected and never fragmenting, so that the IPv4 identification is 0.
    if (ipv4) {
      SetOption(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
      SetOption(fd, IPPROTO_IP, IP_RECVERR, 1);
    } else {
      SetOption(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
      SetOption(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
      // Kernels and NICs leave the UDP checksum out; there is the ICRC.
      SetOption(fd, SOL_UDP, UDP_NO_CHECK6_RX, 1);
    }
    EnlargeBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
    EnlargeBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
    SetOption(fd, SOL_UDP, UDP_GRO, 1);
    // Half of what the kernel says is for its own book-keeping.
    receive_buffer_ =
        static_cast<size_t>(GetOption(fd, SOL_SOCKET, SO_RCVBUF)) / 2;
    memory_.reset(new uint8_t[kReceiveBatch * kReceiveSize]);
  }
  UdpSocket(const UdpSocket&) = delete;
  UdpSocket& operator=(const UdpSocket&) = delete;
  ~UdpSocket() override { close(fd_); }

  const SocketAddress& local_address() const override { return local_; }

  int Receive(absl::Span<TrainIn> out) override {
    const size_t want = std::min<size_t>(out.size(), kReceiveBatch);
    for (size_t i = 0; i < want; ++i) {
      Slot& slot = slots_[i];
      slot.part = {&memory_[i * kReceiveSize], kReceiveSize};
      msghdr& header = messages_[i].msg_hdr;
      header = {};
      header.msg_name = &slot.name;
      header.msg_namelen = sizeof(slot.name);
      header.msg_iov = &slot.part;
      header.msg_iovlen = 1;
      header.msg_control = slot.control;
      header.msg_controllen = sizeof(slot.control);
    }
    const int n = recvmmsg(fd_, messages_.data(), static_cast<unsigned>(want),
                           MSG_DONTWAIT, nullptr);
    if (n < 0) {
      if (errno != EAGAIN && errno != EINTR) ReadErrors();
      return 0;
    }
    int stored = 0;
    for (int i = 0; i < n; ++i) {
      if (Take(static_cast<size_t>(i), &out[static_cast<size_t>(stored)])) {
        ++stored;
      }
    }
    return stored;
  }

  bool Send(absl::Span<const TrainOut> trains) override {
    bool trains_work = true;
    while (!trains.empty()) {
      const size_t n = std::min<size_t>(trains.size(), kSendBatch);
      for (size_t i = 0; i < n; ++i) Prepare(trains[i], i);
      trains_work &= SendPrepared(n, trains);
      trains.remove_prefix(n);
    }
    return trains_work;
  }

  std::vector<Unreachable> TakeUnreachable() override {
    return std::exchange(unreachable_, {});
  }
  size_t receive_buffer() const override { return receive_buffer_; }
  int fd() const override { return fd_; }

 private:
  struct Slot {
    sockaddr_storage name;
    iovec part;
    SocketAddress from;
    alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))];
  };

  // The train that arrived in slot `i`; false if it says nothing.
  bool Take(size_t i, TrainIn* out) {
    Slot& slot = slots_[i];
    const mmsghdr& message = messages_[i];
    if (message.msg_len == 0) return false;
    const auto from = SocketAddress::FromSockaddr(
        reinterpret_cast<sockaddr*>(&slot.name), message.msg_hdr.msg_namelen);
    if (!from.ok()) return false;
    slot.from = *from;
    size_t segment = message.msg_len;
    msghdr header = message.msg_hdr;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr;
         c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO) continue;
      int size = 0;
      std::memcpy(&size, CMSG_DATA(c), sizeof(size));
      if (size > 0) segment = static_cast<size_t>(size);
    }
    out->from = &slot.from;
    out->bytes = {&memory_[i * kReceiveSize], message.msg_len};
    out->segment = segment;
    return true;
  }

  void Prepare(const TrainOut& train, size_t i) {
    msghdr& header = messages_[i].msg_hdr;
    header = {};
    header.msg_name = const_cast<sockaddr*>(train.to->addr());
    header.msg_namelen = train.to->length();
    header.msg_iov = const_cast<iovec*>(train.parts.data());
    header.msg_iovlen = train.parts.size();
    if (train.count < 2) return;
    static_assert(sizeof(slots_[0].control) >= CMSG_SPACE(sizeof(uint16_t)));
    header.msg_control = slots_[i].control;
    header.msg_controllen = CMSG_SPACE(sizeof(uint16_t));
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
    const auto segment = static_cast<uint16_t>(train.segment);
    std::memcpy(CMSG_DATA(c), &segment, sizeof(segment));
  }

  // Sends messages_[0, n). What the kernel refuses is passed over.
  bool SendPrepared(size_t n, absl::Span<const TrainOut> trains) {
    bool trains_work = true;
    bool retried = false;
    for (size_t done = 0; done < n;) {
      const int sent = sendmmsg(fd_, &messages_[done],
                                static_cast<unsigned>(n - done), MSG_DONTWAIT);
      if (sent > 0) {
        done += static_cast<size_t>(sent);
        continue;
      }
      const int error = errno;
      if (error == EINTR) continue;
      if (error == EAGAIN || error == ENOBUFS) return trains_work;
      // A report about an earlier packet comes instead of sending: once more.
      if (ReadErrors() && !retried) {
        retried = true;
        continue;
      }
      if (trains[done].count > 1 &&
          (error == EINVAL || error == EIO || error == EMSGSIZE ||
           error == ENOPROTOOPT)) {
        trains_work = false;
      } else {
        RTRS_LOG_EVERY(warn, kLogInterval, "softroce: sending to {}: {}",
                       trains[done].to->ToString(), std::strerror(error));
      }
      ++done;
    }
    return trains_work;
  }

  // Empties the queue of ICMP reports; true if there was one.
  bool ReadErrors() {
    bool any = false;
    for (;;) {
      sockaddr_storage name{};
      uint8_t byte[1];
      iovec part = {byte, sizeof(byte)};
      alignas(cmsghdr) uint8_t control[512];
      msghdr header{};
      header.msg_name = &name;
      header.msg_namelen = sizeof(name);
      header.msg_iov = &part;
      header.msg_iovlen = 1;
      header.msg_control = control;
      header.msg_controllen = sizeof(control);
      if (recvmsg(fd_, &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return any;
      any = true;
      for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr;
           c = CMSG_NXTHDR(&header, c)) {
        const bool v4 = c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR;
        const bool v6 =
            c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR;
        if (!v4 && !v6) continue;
        sock_extended_err report{};
        std::memcpy(&report, CMSG_DATA(c), sizeof(report));
        auto peer = SocketAddress::FromSockaddr(
            reinterpret_cast<sockaddr*>(&name), header.msg_namelen);
        if (peer.ok() && report.ee_errno != 0 &&
            unreachable_.size() < kReceiveBatch) {
          unreachable_.push_back({*peer, static_cast<int>(report.ee_errno)});
        }
      }
    }
  }

  const int fd_;
  const SocketAddress local_;
  size_t receive_buffer_;
  std::unique_ptr<uint8_t[]> memory_;
  std::array<Slot, kSendBatch> slots_;
  std::array<mmsghdr, kSendBatch> messages_;
  std::vector<Unreachable> unreachable_;
};

// A socket that asks the routing table, no packet is sent.
class RouteQuestion {
 public:
  RouteQuestion(const SocketAddress& source, const SocketAddress& destination)
      : fd_(socket(destination.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    SocketAddress from = source;
    if (from.is_set()) {
      from.set_port(0);
      ok_ = bind(fd_, from.addr(), from.length()) == 0;
    }
    SocketAddress to = destination;
    to.set_port(kUdpPort);
    ok_ = ok_ && connect(fd_, to.addr(), to.length()) == 0;
    error_ = errno;
  }
  ~RouteQuestion() { close(fd_); }
  RouteQuestion(const RouteQuestion&) = delete;
  RouteQuestion& operator=(const RouteQuestion&) = delete;
  bool ok() const { return ok_; }
  int error() const { return error_; }
  int fd() const { return fd_; }

 private:
  const int fd_;
  bool ok_ = true;
  int error_ = 0;
};

class UdpTransport : public DatagramTransport {
 public:
  absl::StatusOr<std::unique_ptr<DatagramSocket>> Open(
      const SocketAddress& local) override {
    // A NIC takes the packets of its addresses before any socket sees them.
    const std::string device = FindRdmaDevice(local);
    if (!device.empty()) {
      return ErrnoError(
          EADDRINUSE,
          absl::StrCat("RDMA device ", device, " takes the RoCE packets of ",
                       local.HostString(), ": use fabric=verbs there"));
    }
    SocketAddress address = local;
    address.set_port(kUdpPort);
    const int fd =
        socket(address.family(), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return ErrnoError(errno, "UDP socket");
    if (address.family() == AF_INET6)
      SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (bind(fd, address.addr(), address.length()) != 0) {
      const int error = errno;
      close(fd);
      std::string what = absl::StrCat("UDP port ", address.ToString());
      if (error == EADDRINUSE) {
        absl::StrAppend(&what, " is taken", DescribePortOwner(address));
      }
      return ErrnoError(error, what);
    }
    return std::make_unique<UdpSocket>(fd, address);
  }

  absl::StatusOr<SocketAddress> SourceFor(
      const SocketAddress& destination) override {
    const RouteQuestion question(SocketAddress(), destination);
    sockaddr_storage storage{};
    socklen_t length = sizeof(storage);
    auto* sa = reinterpret_cast<sockaddr*>(&storage);
    if (!question.ok() || getsockname(question.fd(), sa, &length) != 0) {
      return ErrnoError(question.error(),
                        absl::StrCat("no route to ", destination.HostString()));
    }
    auto source = SocketAddress::FromSockaddr(sa, length);
    if (source.ok()) source->set_port(kUdpPort);
    return source;
  }

  uint32_t RouteMtu(const SocketAddress& source,
                    const SocketAddress& destination) override {
    const RouteQuestion question(source, destination);
    const bool ipv4 = destination.family() == AF_INET;
    const int mtu = question.ok() ? GetOption(question.fd(),
                                              ipv4 ? IPPROTO_IP : IPPROTO_IPV6,
                                              ipv4 ? IP_MTU : IPV6_MTU)
                                  : 0;
    return mtu > 0 ? static_cast<uint32_t>(mtu) : kDefaultMtu;
  }

  std::vector<SocketAddress> LocalAddresses(int family) override {
    std::vector<SocketAddress> found;
    ifaddrs* list = nullptr;
    if (getifaddrs(&list) != 0) return found;
    const auto free_list = absl::MakeCleanup([list] { freeifaddrs(list); });
    for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
      if (i->ifa_addr == nullptr || i->ifa_addr->sa_family != family) continue;
      auto address =
          SocketAddress::FromSockaddr(i->ifa_addr, sizeof(sockaddr_storage));
      if (address.ok()) found.push_back(*address);
    }
    return found;
  }
};

}  // namespace

DatagramTransport* SystemUdpTransport() {
  static auto* transport = new UdpTransport;
  return transport;
}

}  // namespace rtrs::softroce
