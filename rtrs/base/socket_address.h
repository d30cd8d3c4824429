// An IPv4 or IPv6 address with port and, for link-local IPv6, a scope.
#ifndef RTRS_BASE_SOCKET_ADDRESS_H_
#define RTRS_BASE_SOCKET_ADDRESS_H_

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace rtrs {

// A value type. Default constructed it is unset (family AF_UNSPEC).
class SocketAddress {
 public:
  SocketAddress() = default;
  // `sa` of `length` bytes, family AF_INET or AF_INET6.
  static absl::StatusOr<SocketAddress> FromSockaddr(const sockaddr* sa,
                                                    socklen_t length);
  // A numeric address without port: "192.0.2.1", "2001:db8::1", "fe80::1%eth0".
  // No name resolution. The error names the text.
  static absl::StatusOr<SocketAddress> Parse(absl::string_view text,
                                             uint16_t port);

  bool is_set() const { return storage_.ss_family != AF_UNSPEC; }
  int family() const { return storage_.ss_family; }
  uint16_t port() const;
  void set_port(uint16_t port);
  bool IsLoopback() const;
  // The wildcard address (0.0.0.0 or ::).
  bool IsAny() const;

  const sockaddr* addr() const {
    return reinterpret_cast<const sockaddr*>(&storage_);
  }
  socklen_t length() const;

  // "192.0.2.1" or "2001:db8::1%eth0"; an IPv4-mapped IPv6 address as IPv4.
  std::string HostString() const;
  // "192.0.2.1:1234" or "[2001:db8::1]:1234".
  std::string ToString() const;

  // The same host, ports ignored; IPv4-mapped IPv6 equals IPv4.
  bool SameHost(const SocketAddress& other) const;
  friend bool operator==(const SocketAddress& a, const SocketAddress& b) {
    return a.SameHost(b) && a.port() == b.port();
  }

 private:
  sockaddr_storage storage_{};
};

}  // namespace rtrs

#endif  // RTRS_BASE_SOCKET_ADDRESS_H_
