#include "nbdkit-plugin/config.h"

#include <errno.h>

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rtrs/base/errno_status.h"

namespace rnbd::plugin {
namespace {

using ::testing::HasSubstr;
using Parameters = std::vector<std::pair<std::string, std::string>>;

// The first error, or that of Complete.
absl::Status Parse(const Parameters& parameters, Config* config) {
  for (const auto& [key, value] : parameters) {
    if (absl::Status status = config->Set(key, value); !status.ok()) {
      return status;
    }
  }
  return config->Complete();
}

std::string ErrorOf(const Parameters& parameters) {
  Config config;
  return std::string(Parse(parameters, &config).message());
}

// The least that is needed, and `more`.
Parameters With(const Parameters& more) {
  Parameters all = {{"sessname", "demo"}, {"path", "ip:192.0.2.1"}};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

TEST(Config, Defaults) {
  Config config;
  ASSERT_TRUE(Parse(With({}), &config).ok());
  EXPECT_EQ(config.options().sessname, "demo");
  ASSERT_EQ(config.options().paths.size(), 1u);
  EXPECT_EQ(config.options().paths[0].port, 1234);
  EXPECT_EQ(config.options().io_timeout, absl::Seconds(180));
  EXPECT_EQ(config.options().fabric, gateway::FabricChoice::kAuto);
  EXPECT_EQ(config.options().crc, gateway::CrcChoice::kAuto);
  EXPECT_EQ(config.options().write_zeroes, gateway::WriteZeroesChoice::kAuto);
  EXPECT_EQ(config.device_path(), "");
  EXPECT_EQ(config.access_mode(false), wire::AccessMode::kRw);
  EXPECT_EQ(config.access_mode(true), wire::AccessMode::kRo);
}

TEST(Config, EverythingGiven) {
  Config config;
  ASSERT_TRUE(Parse(With({{"device_path", "a/b"},
                          {"access_mode", "migration"},
                          {"fabric", "softiwarp"},
                          {"crc", "on"},
                          {"io_timeout", "3m"},
                          {"fail_fast", "yes"},
                          {"mp_policy", "rr"},
                          {"heartbeat_interval", "500ms"},
                          {"write_zeroes", "yes"}}),
                    &config)
                  .ok());
  EXPECT_EQ(config.device_path(), "a/b");
  EXPECT_EQ(config.access_mode(true), wire::AccessMode::kMigration);
  EXPECT_EQ(config.options().fabric, gateway::FabricChoice::kSoftiwarp);
  EXPECT_EQ(config.options().crc, gateway::CrcChoice::kOn);
  EXPECT_EQ(config.options().io_timeout, absl::Minutes(3));
  EXPECT_TRUE(config.options().fail_fast);
  EXPECT_EQ(config.options().mp_policy,
            rtrs::client::MultipathPolicy::kRoundRobin);
  EXPECT_EQ(config.options().heartbeat_interval, absl::Milliseconds(500));
  EXPECT_EQ(config.options().write_zeroes, gateway::WriteZeroesChoice::kYes);
}

TEST(Config, PortCountsWhereverItStands) {
  for (const Parameters& parameters : {Parameters{{"dest_port", "4321"},
                                                  {"path", "ip:192.0.2.1"},
                                                  {"path", "ip:192.0.2.2"},
                                                  {"sessname", "demo"}},
                                       Parameters{{"path", "ip:192.0.2.1"},
                                                  {"dest_port", "4321"},
                                                  {"path", "ip:192.0.2.2"},
                                                  {"sessname", "demo"}},
                                       Parameters{{"sessname", "demo"},
                                                  {"path", "ip:192.0.2.1"},
                                                  {"path", "ip:192.0.2.2"},
                                                  {"dest_port", "4321"}}}) {
    Config config;
    ASSERT_TRUE(Parse(parameters, &config).ok());
    ASSERT_EQ(config.options().paths.size(), 2u);
    for (const rtrs::PathSpec& path : config.options().paths) {
      EXPECT_EQ(path.port, 4321);
      EXPECT_EQ(path.destination.ip.port(), 4321);
    }
  }
}

TEST(Config, SourceAddressInBothSpellings) {
  for (const char* path :
       {"ip:192.0.2.9@ip:192.0.2.1", "ip:192.0.2.9,ip:192.0.2.1"}) {
    Config config;
    ASSERT_TRUE(Parse({{"sessname", "demo"}, {"path", path}}, &config).ok());
    EXPECT_EQ(config.options().paths[0].source.ip.HostString(), "192.0.2.9");
    EXPECT_EQ(config.options().paths[0].destination.ip.HostString(),
              "192.0.2.1");
  }
}

TEST(Config, MissingParametersAreNamed) {
  EXPECT_THAT(ErrorOf({{"path", "ip:192.0.2.1"}}), HasSubstr("sessname="));
  EXPECT_THAT(ErrorOf({{"sessname", "demo"}}), HasSubstr("path="));
}

TEST(Config, UnknownParameterIsNamed) {
  const std::string text = ErrorOf(With({{"devicepath", "disk"}}));
  EXPECT_THAT(text, HasSubstr("devicepath=disk"));
  EXPECT_THAT(text, HasSubstr("device_path"));
}

TEST(Config, ParametersOtherThanPathAreGivenOnce) {
  EXPECT_THAT(ErrorOf(With({{"crc", "on"}, {"crc", "off"}})),
              HasSubstr("crc= is given more than once"));
}

TEST(Config, BadValuesAreNamedWithTheirParameter) {
  const Parameters bad = {
      {"sessname", "a/b"},
      {"sessname", ""},
      {"path", "192.0.2.1"},
      {"path", "ip:nowhere"},
      {"path", "gid:12345"},
      {"path", "ip:192.0.2.1@ip:::1"},
      {"device_path", ""},
      {"device_path", "../x"},
      {"dest_port", "0"},
      {"dest_port", "65536"},
      {"dest_port", "-1"},
      {"dest_port", "12x"},
      {"dest_port", ""},
      {"access_mode", "readonly"},
      {"fabric", "ethernet"},
      {"crc", "maybe"},
      {"io_timeout", "-1"},
      {"io_timeout", "soon"},
      {"io_timeout", "1h1"},
      {"io_timeout", ""},
      {"fail_fast", "1"},
      {"mp_policy", "fastest"},
      {"mp_policy", "3"},
      {"heartbeat_interval", "often"},
      {"heartbeat_interval", ""},
      {"io_timeout", "inf"},
      {"io_timeout", "99999999999999"},
      {"write_zeroes", "maybe"},
  };
  for (const auto& [key, value] : bad) {
    Config config;
    const absl::Status status = config.Set(key, value);
    EXPECT_FALSE(status.ok()) << key << "=" << value;
    EXPECT_THAT(std::string(status.message()), HasSubstr(key + "="));
    EXPECT_THAT(std::string(status.message()), HasSubstr(value));
  }
}

// A GID is an InfiniBand address: the in-process fabrics cannot reach it.
TEST(Config, GidNeedsAnRdmaDevice) {
  Config any;
  EXPECT_TRUE(
      Parse({{"sessname", "demo"}, {"path", "gid:fe80::1"}}, &any).ok());
  Config iwarp;
  const absl::Status status = Parse(
      {{"sessname", "demo"}, {"path", "gid:fe80::1"}, {"fabric", "softiwarp"}},
      &iwarp);
  EXPECT_EQ(rtrs::ErrnoOf(status), EAFNOSUPPORT) << status;
}

TEST(Config, HeartbeatIntervalIsBounded) {
  for (const char* value : {"0", "99ms", "61m"}) {
    EXPECT_THAT(ErrorOf({{"sessname", "demo"},
                         {"path", "ip:192.0.2.1"},
                         {"heartbeat_interval", value}}),
                HasSubstr("heartbeat_interval="))
        << value;
  }
}

TEST(Config, IoTimeoutSpellings) {
  EXPECT_EQ(*ParseIoTimeout("180"), absl::Seconds(180));
  EXPECT_EQ(*ParseIoTimeout("90s"), absl::Seconds(90));
  EXPECT_EQ(*ParseIoTimeout("1h30m"), absl::Minutes(90));
  EXPECT_EQ(*ParseIoTimeout("500ms"), absl::Milliseconds(500));
  EXPECT_EQ(*ParseIoTimeout("0"), absl::InfiniteDuration());
  EXPECT_EQ(*ParseIoTimeout("0s"), absl::InfiniteDuration());
}

TEST(Config, HelpNamesEveryParameter) {
  for (const char* name :
       {"sessname=", "path=", "device_path=", "dest_port=", "access_mode=",
        "fabric=", "crc=", "io_timeout=", "fail_fast=", "mp_policy=",
        "heartbeat_interval=", "write_zeroes="}) {
    EXPECT_THAT(std::string(kConfigHelp), HasSubstr(name));
  }
}

}  // namespace
}  // namespace rnbd::plugin
