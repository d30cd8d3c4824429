// Devices that change their size while clients have them open: who is told, and
// until when.
#include <errno.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/server/fixture.h"

namespace rnbd::server {
namespace {

using rtrs::wire::Capabilities;
using wire::AccessMode;

using Ids = std::vector<uint32_t>;

class ResizeTest : public testing::Test {
 protected:
  ResizeTest() : server_(ServerFixture::Options{}) {
    server_.dir().MakeFile("disk", kDiskSize);
    server_.dir().MakeFile("other", kDiskSize);
  }
  FakeSession* Hearing(const std::string& name) {
    return server_.Connect(name, {Capabilities::kNotice});
  }
  void Resize(size_t size) {
    ASSERT_EQ(
        truncate(server_.dir().File("disk").c_str(), static_cast<off_t>(size)),
        0);
  }
  void Look() { server_.opener().LookAtSizes(); }
  // The size that OPEN tells.
  size_t Ask(FakeSession* session, const std::string& name = "disk") {
    wire::OpenRsp rsp;
    EXPECT_EQ(server_.Open(session, name, AccessMode::kRo, &rsp), 0);
    return rsp.nsectors * wire::kSectorSize;
  }

  ServerFixture server_;
};

TEST_F(ResizeTest, NothingIsToldWhileNothingChanges) {
  FakeSession* session = Hearing("a");
  Look();
  server_.MustOpen(session, "disk");
  Look();
  Look();
  EXPECT_TRUE(session->notices.empty());
}

TEST_F(ResizeTest, EverySessionThatHasItOpenAndCanHearIsTold) {
  FakeSession* a = Hearing("a");
  FakeSession* b = Hearing("b");
  FakeSession* kernel = server_.Connect("kernel");
  FakeSession* elsewhere = Hearing("elsewhere");
  const uint32_t id_a = server_.MustOpen(a, "disk");
  server_.MustOpen(b, "other", AccessMode::kRo);
  const uint32_t id_b = server_.MustOpen(b, "disk", AccessMode::kRo);
  server_.MustOpen(kernel, "disk", AccessMode::kRo);
  server_.MustOpen(elsewhere, "other", AccessMode::kRo);
  ASSERT_NE(id_a, id_b);
  Resize(2 * kDiskSize);
  Look();
  EXPECT_EQ(a->notices, Ids{id_a});
  EXPECT_EQ(b->notices, Ids{id_b});
  EXPECT_TRUE(kernel->notices.empty());
  EXPECT_TRUE(elsewhere->notices.empty());
}

TEST_F(ResizeTest, IsToldAgainUntilTheClientAsks) {
  FakeSession* session = Hearing("a");
  const uint32_t id = server_.MustOpen(session, "disk");
  Resize(kDiskSize / 2);
  Look();
  Look();
  Look();
  EXPECT_EQ(session->notices, (Ids{id, id, id}));
  EXPECT_EQ(Ask(session), kDiskSize / 2);
  Look();
  EXPECT_EQ(session->notices.size(), 3u);
  Resize(kDiskSize);
  Look();
  EXPECT_EQ(session->notices.size(), 4u);
}

TEST_F(ResizeTest, WhoAskedBeforeItWasNoticedIsNotTold) {
  FakeSession* session = Hearing("a");
  server_.MustOpen(session, "disk");
  Resize(2 * kDiskSize);
  EXPECT_EQ(Ask(session), 2 * kDiskSize);
  Look();
  EXPECT_TRUE(session->notices.empty());
}

TEST_F(ResizeTest, AskingOpensNothingTwice) {
  FakeSession* session = Hearing("a");
  const uint32_t id = server_.MustOpen(session, "disk");
  Resize(2 * kDiskSize);
  Look();
  EXPECT_EQ(server_.MustOpen(session, "disk"), id);
  EXPECT_EQ(server_.Close(session, id), 0);
  EXPECT_EQ(server_.Write(session, id, 0, std::string(512, 'x')), ENOTCONN);
  EXPECT_EQ(server_.Open(Hearing("b"), "disk", AccessMode::kRw), 0);
}

TEST_F(ResizeTest, WhoClosedItIsNotTold) {
  FakeSession* session = Hearing("a");
  const uint32_t id = server_.MustOpen(session, "disk");
  ASSERT_EQ(server_.Close(session, id), 0);
  Resize(2 * kDiskSize);
  Look();
  EXPECT_TRUE(session->notices.empty());
}

TEST_F(ResizeTest, WhoIsGoneIsNotTold) {
  FakeSession* session = Hearing("a");
  FakeSession* stays = Hearing("b");
  server_.MustOpen(session, "disk");
  const uint32_t id = server_.MustOpen(stays, "disk", AccessMode::kRo);
  server_.Disconnect(session);  // and is freed
  Resize(2 * kDiskSize);
  Look();
  EXPECT_EQ(stays->notices, Ids{id});
}

}  // namespace
}  // namespace rnbd::server
