#include "rtrs/base/socket_address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <string.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace rtrs {
namespace {

const sockaddr_in& V4(const sockaddr_storage& s) {
  return reinterpret_cast<const sockaddr_in&>(s);
}
const sockaddr_in6& V6(const sockaddr_storage& s) {
  return reinterpret_cast<const sockaddr_in6&>(s);
}

// The address as IPv6, IPv4 as IPv4-mapped, so that two can be compared.
in6_addr AsV6(const sockaddr_storage& s) {
  if (s.ss_family == AF_INET6) return V6(s).sin6_addr;
  in6_addr mapped{};
  mapped.s6_addr[10] = mapped.s6_addr[11] = 0xff;
  memcpy(&mapped.s6_addr[12], &V4(s).sin_addr, 4);
  return mapped;
}

}  // namespace

absl::StatusOr<SocketAddress> SocketAddress::FromSockaddr(const sockaddr* sa,
                                                          socklen_t length) {
  SocketAddress address;
  if ((sa->sa_family == AF_INET && length >= sizeof(sockaddr_in)) ||
      (sa->sa_family == AF_INET6 && length >= sizeof(sockaddr_in6))) {
    memcpy(
        &address.storage_, sa,
        sa->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    return address;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("socket address of family ", sa->sa_family, " and ", length,
                   " bytes is neither IPv4 nor IPv6"));
}

absl::StatusOr<SocketAddress> SocketAddress::Parse(absl::string_view text,
                                                   uint16_t port) {
  SocketAddress address;
  const std::string whole(text);
  auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage_);
  if (inet_pton(AF_INET, whole.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    return address;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage_);
  const size_t percent = whole.find('%');
  const std::string host = whole.substr(0, percent);
  if (inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    if (percent == std::string::npos) return address;
    const std::string scope = whole.substr(percent + 1);
    uint32_t index = if_nametoindex(scope.c_str());
    if (index == 0 && !absl::SimpleAtoi(scope, &index)) index = 0;
    if (index != 0) {
      v6.sin6_scope_id = index;
      return address;
    }
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\": there is no interface \"", scope, "\""));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", text,
      "\" is not an IPv4 or IPv6 address (names are not looked up)"));
}

uint16_t SocketAddress::port() const {
  if (family() == AF_INET) return ntohs(V4(storage_).sin_port);
  if (family() == AF_INET6) return ntohs(V6(storage_).sin6_port);
  return 0;
}

void SocketAddress::set_port(uint16_t port) {
  if (family() == AF_INET) {
    reinterpret_cast<sockaddr_in&>(storage_).sin_port = htons(port);
  } else if (family() == AF_INET6) {
    reinterpret_cast<sockaddr_in6&>(storage_).sin6_port = htons(port);
  }
}

bool SocketAddress::IsLoopback() const {
  if (!is_set()) return false;
  const in6_addr a = AsV6(storage_);
  if (IN6_IS_ADDR_V4MAPPED(&a)) return a.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&a);
}

bool SocketAddress::IsAny() const {
  if (family() == AF_INET) return V4(storage_).sin_addr.s_addr == INADDR_ANY;
  return family() == AF_INET6 &&
         IN6_IS_ADDR_UNSPECIFIED(&V6(storage_).sin6_addr);
}

socklen_t SocketAddress::length() const {
  return family() == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
}

std::string SocketAddress::HostString() const {
  if (!is_set()) return "(unset)";
  char text[INET6_ADDRSTRLEN];
  const in6_addr a = AsV6(storage_);
  if (IN6_IS_ADDR_V4MAPPED(&a)) {
    return inet_ntop(AF_INET, &a.s6_addr[12], text, sizeof(text));
  }
  inet_ntop(AF_INET6, &a, text, sizeof(text));
  const uint32_t scope = V6(storage_).sin6_scope_id;
  if (scope == 0) return text;
  char name[IF_NAMESIZE];
  if (if_indextoname(scope, name) != nullptr) {
    return absl::StrCat(text, "%", name);
  }
  return absl::StrCat(text, "%", scope);
}

std::string SocketAddress::ToString() const {
  const std::string host = HostString();
  if (host.find(':') == std::string::npos) {
    return absl::StrCat(host, ":", port());
  }
  return absl::StrCat("[", host, "]:", port());
}

bool SocketAddress::SameHost(const SocketAddress& other) const {
  if (!is_set() || !other.is_set()) return is_set() == other.is_set();
  const in6_addr a = AsV6(storage_);
  const in6_addr b = AsV6(other.storage_);
  if (memcmp(&a, &b, sizeof(a)) != 0) return false;
  // Link-local addresses are the same host only on the same link.
  return family() != other.family() || family() == AF_INET ||
         V6(storage_).sin6_scope_id == V6(other.storage_).sin6_scope_id;
}

}  // namespace rtrs
