#include <errno.h>

#include <string>

#include "gateway/gateway.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rtrs/base/errno_status.h"
#include "tests/gateway/message.h"

namespace rnbd::gateway {
namespace {

using ::testing::HasSubstr;

GatewayOptions GoodOptions() {
  GatewayOptions options;
  options.sessname = "demo";
  options.paths.push_back(*rtrs::ParsePathSpec("ip:127.0.0.1", 1234));
  return options;
}

TEST(Options, GoodOnesPass) {
  EXPECT_TRUE(CheckGatewayOptions(GoodOptions()).ok());
}

TEST(Options, SessnameOf254BytesPassesAnd255NotMore) {
  EXPECT_TRUE(CheckSessname(std::string(254, 'x')).ok());
  const absl::Status status = CheckSessname(std::string(255, 'x'));
  EXPECT_EQ(rtrs::ErrnoOf(status), ENAMETOOLONG);
  EXPECT_THAT(Message(status), HasSubstr("sessname="));
  EXPECT_THAT(Message(status), HasSubstr("255 bytes"));
}

TEST(Options, SessnameMustNotBeEmptyOrHaveSlashOrDot) {
  for (const char* name : {"", "a/b", "host.example"}) {
    const absl::Status status = CheckSessname(name);
    EXPECT_EQ(rtrs::ErrnoOf(status), EINVAL) << name;
    EXPECT_THAT(Message(status), HasSubstr("sessname="));
    EXPECT_THAT(Message(status), HasSubstr(name));
  }
}

TEST(Options, DevicePathLimits) {
  EXPECT_TRUE(CheckDevicePath(std::string(254, 'x')).ok());
  EXPECT_TRUE(CheckDevicePath("a/b.img").ok());
  EXPECT_EQ(rtrs::ErrnoOf(CheckDevicePath(std::string(255, 'x'))),
            ENAMETOOLONG);
  EXPECT_EQ(rtrs::ErrnoOf(CheckDevicePath(std::string(4096, 'x'))),
            ENAMETOOLONG);
  EXPECT_FALSE(CheckDevicePath("").ok());
  EXPECT_FALSE(CheckDevicePath(absl::string_view("a\0b", 3)).ok());
}

TEST(Options, DevicePathMustNotLeaveTheSearchPath) {
  const absl::Status status = CheckDevicePath("../etc/shadow");
  EXPECT_EQ(rtrs::ErrnoOf(status), EINVAL);
  EXPECT_THAT(Message(status), HasSubstr("device_path=../etc/shadow"));
}

TEST(Options, PathIsNeeded) {
  GatewayOptions options = GoodOptions();
  options.paths.clear();
  EXPECT_THAT(Message(CheckGatewayOptions(options)), HasSubstr("path="));
}

TEST(Options, SamePathTwiceIsRefused) {
  GatewayOptions options = GoodOptions();
  options.paths.push_back(options.paths[0]);
  options.paths[1].port = 1235;  // another port does not make another path
  const absl::Status status = CheckGatewayOptions(options);
  EXPECT_EQ(rtrs::ErrnoOf(status), EEXIST);
  EXPECT_THAT(Message(status), HasSubstr("path=ip:127.0.0.1"));
}

TEST(Options, GidPathsNeedAnRdmaDevice) {
  GatewayOptions options = GoodOptions();
  options.paths[0] = *rtrs::ParsePathSpec("gid:fe80::1", 1234);
  EXPECT_TRUE(CheckGatewayOptions(options).ok());
  options.fabric = FabricChoice::kSoftiwarp;
  const absl::Status status = CheckGatewayOptions(options);
  EXPECT_EQ(rtrs::ErrnoOf(status), EAFNOSUPPORT);
  EXPECT_THAT(Message(status), HasSubstr("path=gid:"));
}

TEST(Options, ChoicesAreParsedByName) {
  EXPECT_EQ(*ParseFabricChoice("auto"), FabricChoice::kAuto);
  EXPECT_EQ(*ParseFabricChoice("softiwarp"), FabricChoice::kSoftiwarp);
  EXPECT_EQ(*ParseCrcChoice("on"), CrcChoice::kOn);
  EXPECT_EQ(*ParseCrcChoice("off"), CrcChoice::kOff);
  EXPECT_EQ(*ParseCrcChoice("auto"), CrcChoice::kAuto);
  EXPECT_THAT(Message(ParseFabricChoice("tcp").status()),
              HasSubstr("fabric=tcp"));
  EXPECT_THAT(Message(ParseCrcChoice("maybe").status()),
              HasSubstr("crc=maybe"));
}

}  // namespace
}  // namespace rnbd::gateway
