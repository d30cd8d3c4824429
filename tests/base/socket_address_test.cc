#include "rtrs/base/socket_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <sys/un.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rtrs/base/errno_status.h"

namespace rtrs {
namespace {

using ::testing::HasSubstr;

SocketAddress Address(absl::string_view text, uint16_t port = 1234) {
  return SocketAddress::Parse(text, port).value();
}

TEST(SocketAddressTest, DefaultIsUnset) {
  const SocketAddress address;
  EXPECT_FALSE(address.is_set());
  EXPECT_EQ(address.port(), 0);
  EXPECT_FALSE(address.IsLoopback());
  EXPECT_FALSE(address.IsAny());
  EXPECT_EQ(address.HostString(), "(unset)");
}

TEST(SocketAddressTest, Ipv4) {
  const SocketAddress address = Address("192.0.2.1");
  EXPECT_EQ(address.family(), AF_INET);
  EXPECT_EQ(address.length(), sizeof(sockaddr_in));
  EXPECT_EQ(address.port(), 1234);
  EXPECT_EQ(address.ToString(), "192.0.2.1:1234");
}

TEST(SocketAddressTest, Ipv6) {
  const SocketAddress address = Address("2001:db8::1");
  EXPECT_EQ(address.family(), AF_INET6);
  EXPECT_EQ(address.length(), sizeof(sockaddr_in6));
  EXPECT_EQ(address.ToString(), "[2001:db8::1]:1234");
}

TEST(SocketAddressTest, ScopeByNameAndNumber) {
  EXPECT_EQ(Address("fe80::1%lo").HostString(), "fe80::1%lo");
  const std::string number = std::to_string(if_nametoindex("lo"));
  EXPECT_EQ(Address("fe80::1%" + number), Address("fe80::1%lo"));
}

TEST(SocketAddressTest, UnknownScopeIsNamed) {
  const auto address = SocketAddress::Parse("fe80::1%nosuchif", 1);
  EXPECT_EQ(ErrnoOf(address.status()), EINVAL);
  EXPECT_THAT(std::string(address.status().message()), HasSubstr("nosuchif"));
}

TEST(SocketAddressTest, NamesAreNotLookedUp) {
  EXPECT_EQ(ErrnoOf(SocketAddress::Parse("localhost", 1).status()), EINVAL);
}

TEST(SocketAddressTest, SetPort) {
  SocketAddress v4 = Address("192.0.2.1");
  v4.set_port(65535);
  EXPECT_EQ(v4.port(), 65535);
  SocketAddress v6 = Address("::1");
  v6.set_port(1);
  EXPECT_EQ(v6.ToString(), "[::1]:1");
}

TEST(SocketAddressTest, Loopback) {
  EXPECT_TRUE(Address("127.0.0.1").IsLoopback());
  EXPECT_TRUE(Address("127.9.9.9").IsLoopback());
  EXPECT_TRUE(Address("::1").IsLoopback());
  EXPECT_TRUE(Address("::ffff:127.0.0.1").IsLoopback());
  EXPECT_FALSE(Address("128.0.0.1").IsLoopback());
  EXPECT_FALSE(Address("::2").IsLoopback());
}

TEST(SocketAddressTest, Any) {
  EXPECT_TRUE(Address("0.0.0.0").IsAny());
  EXPECT_TRUE(Address("::").IsAny());
  EXPECT_FALSE(Address("127.0.0.1").IsAny());
}

TEST(SocketAddressTest, MappedIpv6IsIpv4) {
  const SocketAddress mapped = Address("::ffff:192.0.2.1");
  EXPECT_EQ(mapped.HostString(), "192.0.2.1");
  EXPECT_EQ(mapped, Address("192.0.2.1"));
}

TEST(SocketAddressTest, SameHostIgnoresPorts) {
  EXPECT_TRUE(Address("192.0.2.1", 1).SameHost(Address("192.0.2.1", 2)));
  EXPECT_FALSE(Address("192.0.2.1", 1) == Address("192.0.2.1", 2));
  EXPECT_FALSE(Address("192.0.2.1").SameHost(Address("192.0.2.2")));
}

TEST(SocketAddressTest, ScopesTellLinkLocalHostsApart) {
  EXPECT_FALSE(Address("fe80::1%lo").SameHost(Address("fe80::1")));
}

TEST(SocketAddressTest, UnsetEqualsOnlyUnset) {
  EXPECT_EQ(SocketAddress(), SocketAddress());
  EXPECT_FALSE(SocketAddress().SameHost(Address("::")));
}

TEST(SocketAddressTest, FromSockaddr) {
  sockaddr_in sin{};
  sin.sin_family = AF_INET;
  sin.sin_port = htons(99);
  sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto address = SocketAddress::FromSockaddr(
      reinterpret_cast<sockaddr*>(&sin), sizeof(sin));
  ASSERT_TRUE(address.ok()) << address.status();
  EXPECT_EQ(address->ToString(), "127.0.0.1:99");
}

TEST(SocketAddressTest, FromSockaddrRefusesShortAndOtherFamilies) {
  sockaddr_in sin{};
  sin.sin_family = AF_INET;
  EXPECT_FALSE(SocketAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&sin),
                                           sizeof(sin) - 1)
                   .ok());
  sockaddr_un sun{};
  sun.sun_family = AF_UNIX;
  EXPECT_FALSE(SocketAddress::FromSockaddr(reinterpret_cast<sockaddr*>(&sun),
                                           sizeof(sun))
                   .ok());
}

}  // namespace
}  // namespace rtrs
