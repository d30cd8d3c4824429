#include "rtrs/base/path_spec.h"

#include <errno.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rtrs/base/errno_status.h"

namespace rtrs {
namespace {

using ::testing::HasSubstr;

TEST(PathSpecTest, DestinationAlone) {
  const auto spec = ParsePathSpec("ip:192.0.2.1", 1234);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->source.kind, PathEnd::Kind::kNone);
  EXPECT_EQ(spec->destination.kind, PathEnd::Kind::kIp);
  EXPECT_EQ(spec->destination.ip.ToString(), "192.0.2.1:1234");
  EXPECT_EQ(spec->port, 1234);
  EXPECT_EQ(spec->ToString(), "ip:192.0.2.1");
}

TEST(PathSpecTest, SourceAtDestination) {
  const auto spec = ParsePathSpec("ip:192.0.2.1@ip:192.0.2.2", 4000);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->source.ip.ToString(), "192.0.2.1:0");
  EXPECT_EQ(spec->destination.ip.ToString(), "192.0.2.2:4000");
  EXPECT_EQ(spec->ToString(), "ip:192.0.2.1@ip:192.0.2.2");
}

TEST(PathSpecTest, CommaIsPrintedAsAt) {
  const auto spec = ParsePathSpec("ip:192.0.2.1,ip:192.0.2.2", 1234);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->ToString(), "ip:192.0.2.1@ip:192.0.2.2");
}

TEST(PathSpecTest, Ipv6IsPrintedCompressed) {
  const auto spec =
      ParsePathSpec("ip:2001:db8:0:0:0:0:0:1@ip:2001:0db8::2", 1234);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->ToString(), "ip:2001:db8::1@ip:2001:db8::2");
}

TEST(PathSpecTest, Ipv6WithScope) {
  const auto spec = ParsePathSpec("ip:fe80::1%lo", 1234);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->ToString(), "ip:fe80::1%lo");
}

TEST(PathSpecTest, GidIsPrintedInFull) {
  const auto spec = ParsePathSpec("gid:fe80::1@gid:fe80::2", 1234);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->source.kind, PathEnd::Kind::kGid);
  EXPECT_EQ(spec->destination.gid[15], 2);
  EXPECT_EQ(spec->ToString(),
            "gid:fe80:0000:0000:0000:0000:0000:0000:0001@"
            "gid:fe80:0000:0000:0000:0000:0000:0000:0002");
}

TEST(PathSpecTest, OtherPrefixIsEprotonosupport) {
  for (const char* text : {"192.0.2.1", "IP:192.0.2.1", "tcp:192.0.2.1", "",
                           "ip:192.0.2.1@192.0.2.2", " ip:192.0.2.1"}) {
    EXPECT_EQ(ErrnoOf(ParsePathSpec(text, 1234).status()), EPROTONOSUPPORT)
        << text;
  }
}

TEST(PathSpecTest, BadAddressesAreRefused) {
  for (const char* text :
       {"ip:", "ip:192.0.2", "ip:192.0.2.256", "ip:localhost",
        "ip:::1::", "gid:", "gid:192.0.2.1", "ip:192.0.2.1:1234",
        "ip:192.0.2.1 ", "ip:192.0.2.1@", "@ip:192.0.2.1"}) {
    EXPECT_FALSE(ParsePathSpec(text, 1234).ok()) << text;
  }
}

TEST(PathSpecTest, EndsMustBeOfOneKindAndFamily) {
  EXPECT_EQ(ErrnoOf(ParsePathSpec("ip:192.0.2.1@ip:::1", 1).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(ParsePathSpec("gid:fe80::1@ip:::1", 1).status()), EINVAL);
}

TEST(PathSpecTest, ErrorNamesTheText) {
  EXPECT_THAT(std::string(ParsePathSpec("ip:nowhere", 1).status().message()),
              HasSubstr("nowhere"));
}

}  // namespace
}  // namespace rtrs
