// SESS_INFO, OPEN and CLOSE, and sessions that come and go.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "rtrs/wire/coding.h"
#include "tests/server/fixture.h"

namespace rnbd::server {
namespace {

using rtrs::server::Direction;
using rtrs::wire::Capabilities;
using wire::AccessMode;
using wire::Io;
using wire::Op;

class ControlTest : public testing::Test {
 protected:
  ControlTest() : server_(ServerFixture::Options{}) {
    server_.dir().MakeFile("disk", kDiskSize);
    server_.dir().MakeFile("other", kDiskSize);
  }

  // The answer to a request whose buffer was full of stale bytes.
  std::vector<uint8_t> Answer(FakeSession* session,
                              absl::Span<const uint8_t> message, size_t room) {
    auto request = server_.Start(session, Direction::kRead, message, room,
                                 std::string(room, '\xee'));
    EXPECT_EQ(server_.Finish(request.get()), 0);
    return {request->data.begin(), request->data.end()};
  }

  ServerFixture server_;
};

TEST_F(ControlTest, SessInfoAgreesOnTheLowerVersion) {
  FakeSession* session = server_.Connect("client");
  for (const int offered : {0, 1, 2, 3, 255}) {
    wire::SessInfo info;
    info.version = static_cast<uint8_t>(offered);
    const auto answer = Answer(session, wire::EncodeSessInfo(info), 36);
    auto rsp = wire::DecodeSessInfoRsp(answer);
    ASSERT_TRUE(rsp.ok()) << rsp.status();
    EXPECT_EQ(rsp->version, std::min(offered, 2));
  }
}

TEST_F(ControlTest, SessInfoReplyIsZeroedToTheEndOfTheBuffer) {
  FakeSession* session = server_.Connect("client");
  const auto answer = Answer(session, wire::EncodeSessInfo({}), 512);
  for (size_t i = 5; i < answer.size(); ++i) EXPECT_EQ(answer[i], 0) << i;
}

TEST_F(ControlTest, OpenReplyIsZeroedToTheEndOfTheBuffer) {
  FakeSession* session = server_.Connect("client");
  wire::Open open;
  open.device_name = "disk";
  const auto answer = Answer(session, wire::Encode(open), 512);
  for (size_t i = 46; i < answer.size(); ++i) EXPECT_EQ(answer[i], 0) << i;
}

TEST_F(ControlTest, RepliesNeedRoomInTheRightDirection) {
  FakeSession* session = server_.Connect("client");
  wire::Open open;
  open.device_name = "disk";
  auto small = server_.Start(session, Direction::kRead, wire::Encode(open), 55);
  EXPECT_EQ(server_.Finish(small.get()), EINVAL);
  auto write =
      server_.Start(session, Direction::kWrite, wire::Encode(open), 56);
  EXPECT_EQ(server_.Finish(write.get()), EINVAL);
  auto info =
      server_.Start(session, Direction::kRead, wire::EncodeSessInfo({}), 35);
  EXPECT_EQ(server_.Finish(info.get()), EINVAL);
  // None of them left the device open.
  FakeSession* second = server_.Connect("second");
  EXPECT_EQ(server_.Open(second, "disk", AccessMode::kRw), 0);
}

TEST_F(ControlTest, OpenTellsTheGeometry) {
  FakeSession* session = server_.Connect("client");
  wire::OpenRsp rsp;
  ASSERT_EQ(server_.Open(session, "disk", AccessMode::kRw, &rsp), 0);
  EXPECT_EQ(rsp.device_id, 0u);
  EXPECT_EQ(rsp.nsectors, 2048u);
  EXPECT_EQ(rsp.logical_block_size, 512);
  EXPECT_EQ(rsp.physical_block_size, 4096);
  EXPECT_GT(rsp.max_discard_sectors, 0u);
  EXPECT_EQ(rsp.discard_granularity, 4096u);
  EXPECT_GT(rsp.max_write_zeroes_sectors, 0u);
  EXPECT_EQ(rsp.cache_policy, wire::OpenRsp::kFua | wire::OpenRsp::kWriteBack);
  EXPECT_EQ(rsp.secure_discard, 0);
}

TEST_F(ControlTest, ReadOnlyAnnouncesNothingThatWrites) {
  FakeSession* session = server_.Connect("client");
  wire::OpenRsp rsp;
  ASSERT_EQ(server_.Open(session, "disk", AccessMode::kRo, &rsp), 0);
  EXPECT_EQ(rsp.max_discard_sectors, 0u);
  EXPECT_EQ(rsp.max_write_zeroes_sectors, 0u);
}

TEST_F(ControlTest, ReadOnlyNeedsNoRightToWrite) {
  // Root may write to any file, so it is a descriptor that must not be able.
  FakeSession* session = server_.Connect("client");
  server_.MustOpen(session, "disk", AccessMode::kRo);
  bool found = false;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    if (std::filesystem::read_symlink(entry, error) !=
        server_.dir().File("disk")) {
      continue;
    }
    found = true;
    const int fd = std::stoi(entry.path().filename().string());
    EXPECT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
  }
  EXPECT_TRUE(found);
}

TEST_F(ControlTest, IdsAreTheLowestFree) {
  FakeSession* session = server_.Connect("client");
  for (int i = 0; i < 4; ++i) {
    server_.dir().MakeFile(absl::StrCat("d", i), 4096);
    EXPECT_EQ(server_.MustOpen(session, absl::StrCat("d", i)),
              static_cast<uint32_t>(i));
  }
  ASSERT_EQ(server_.Close(session, 1), 0);
  ASSERT_EQ(server_.Close(session, 2), 0);
  EXPECT_EQ(server_.MustOpen(session, "disk"), 1u);
  EXPECT_EQ(server_.MustOpen(session, "other"), 2u);
}

TEST_F(ControlTest, IdsBelongToTheSession) {
  FakeSession* first = server_.Connect("first");
  FakeSession* second = server_.Connect("second");
  EXPECT_EQ(server_.MustOpen(first, "disk"), 0u);
  Io io;
  io.op = Op::kFlush;
  EXPECT_EQ(server_.Do(second, io), ENOTCONN);
  EXPECT_EQ(server_.MustOpen(second, "other"), 0u);
}

TEST_F(ControlTest, SameNameGetsTheSameIdWhateverTheMode) {
  FakeSession* session = server_.Connect("client");
  const uint32_t id = server_.MustOpen(session, "disk", AccessMode::kRo);
  EXPECT_EQ(server_.MustOpen(session, "disk", AccessMode::kRw), id);
  EXPECT_EQ(server_.Write(session, id, 0, std::string(512, 'x')), EROFS);
  // And one CLOSE closes it.
  EXPECT_EQ(server_.Close(session, id), 0);
  FakeSession* second = server_.Connect("second");
  EXPECT_EQ(server_.Open(second, "disk", AccessMode::kRw), 0);
}

TEST_F(ControlTest, OpenAgainTellsTheSizeOfNow) {
  FakeSession* session = server_.Connect("client");
  wire::OpenRsp rsp;
  ASSERT_EQ(server_.Open(session, "disk", AccessMode::kRw, &rsp), 0);
  EXPECT_EQ(server_.Write(session, 0, 2048, std::string(512, 'x')), EIO);
  ASSERT_EQ(truncate(server_.dir().File("disk").c_str(), 2 << 20), 0);
  ASSERT_EQ(server_.Open(session, "disk", AccessMode::kRw, &rsp), 0);
  EXPECT_EQ(rsp.nsectors, 4096u);
  EXPECT_EQ(server_.Write(session, 0, 2048, std::string(512, 'x')), 0);
}

TEST_F(ControlTest, SameDeviceUnderAnotherNameIsEexist) {
  ASSERT_EQ(symlink("disk", server_.dir().File("link").c_str()), 0);
  ASSERT_EQ(link(server_.dir().File("disk").c_str(),
                 server_.dir().File("hard").c_str()),
            0);
  FakeSession* session = server_.Connect("client");
  server_.MustOpen(session, "disk", AccessMode::kRo);
  for (const char* name : {"link", "hard", "/disk", "./disk"}) {
    EXPECT_EQ(server_.Open(session, name, AccessMode::kRo), EEXIST) << name;
  }
  FakeSession* second = server_.Connect("second");
  EXPECT_EQ(server_.Open(second, "hard", AccessMode::kRo), 0);
}

// The example of wire.md §7.3.
TEST_F(ControlTest, WritersAreCountedAsTheKernelDoes) {
  FakeSession* a = server_.Connect("a");
  FakeSession* b = server_.Connect("b");
  FakeSession* c = server_.Connect("c");
  const uint32_t id = server_.MustOpen(a, "disk", AccessMode::kRw);
  EXPECT_EQ(server_.Open(b, "disk", AccessMode::kRw), EPERM);
  EXPECT_EQ(server_.Open(b, "disk", AccessMode::kMigration), 0);
  EXPECT_EQ(server_.Open(c, "disk", AccessMode::kMigration), EPERM);
  EXPECT_EQ(server_.Open(c, "disk", AccessMode::kRo), 0);
  EXPECT_EQ(server_.Close(c, 0), 0);
  EXPECT_EQ(server_.Close(a, id), 0);
  EXPECT_EQ(server_.Open(c, "disk", AccessMode::kRw), EPERM);
  EXPECT_EQ(server_.Open(c, "disk", AccessMode::kMigration), 0);
}

TEST_F(ControlTest, WritersAreCountedByFileNotByName) {
  ASSERT_EQ(link(server_.dir().File("disk").c_str(),
                 server_.dir().File("hard").c_str()),
            0);
  FakeSession* a = server_.Connect("a");
  FakeSession* b = server_.Connect("b");
  server_.MustOpen(a, "disk", AccessMode::kRw);
  EXPECT_EQ(server_.Open(b, "hard", AccessMode::kRw), EPERM);
}

TEST_F(ControlTest, DeadSessionIsNoWriterAnyMore) {
  FakeSession* a = server_.Connect("a");
  server_.MustOpen(a, "disk", AccessMode::kRw);
  server_.Disconnect(a);
  FakeSession* b = server_.Connect("b");
  EXPECT_EQ(server_.Open(b, "disk", AccessMode::kRw), 0);
}

TEST_F(ControlTest, RefusedOpenLeavesNothingBehind) {
  server_.dir().MakeFile("empty", 0);
  FakeSession* session = server_.Connect("client");
  EXPECT_EQ(server_.Open(session, "empty", AccessMode::kRw), ENXIO);
  EXPECT_EQ(server_.Open(session, "missing", AccessMode::kRw), ENOENT);
  server_.dir().MakeFile("empty", 4096);
  FakeSession* second = server_.Connect("second");
  EXPECT_EQ(server_.Open(second, "empty", AccessMode::kRw), 0);
  EXPECT_EQ(server_.MustOpen(session, "disk"), 0u);
}

TEST_F(ControlTest, CloseOfUnknownIdsSucceeds) {
  FakeSession* session = server_.Connect("client");
  for (const uint32_t id : {0u, 1u, 4095u, 4096u, 0xffffffffu}) {
    EXPECT_EQ(server_.Close(session, id), 0) << id;
  }
}

TEST_F(ControlTest, TailOfAFileThatIsNoBlockIsNotReachable) {
  server_.dir().MakeFile("odd", 4096 + 511, 'o');
  FakeSession* session = server_.Connect("client");
  wire::OpenRsp rsp;
  ASSERT_EQ(server_.Open(session, "odd", AccessMode::kRw, &rsp), 0);
  EXPECT_EQ(rsp.nsectors, 8u);
  EXPECT_EQ(server_.Write(session, 0, 8, std::string(512, 'x')), EIO);
}

TEST_F(ControlTest, NamesOf254BytesAreFine) {
  const std::string name =
      absl::StrCat(std::string(200, 'd'), "/", std::string(53, 'f'));
  ASSERT_EQ(name.size(), 254u);
  server_.dir().MakeFile(name, 4096);
  FakeSession* session = server_.Connect("client");
  EXPECT_EQ(server_.Open(session, name, AccessMode::kRw), 0);
}

// 255 bytes leave no room for the NUL.
TEST_F(ControlTest, NameWithoutNulIsEinval) {
  wire::Open open;
  open.device_name = "disk";
  auto message = wire::Encode(open);
  std::fill(message.begin() + 6, message.begin() + 6 + 255, 'x');
  FakeSession* session = server_.Connect("client");
  auto request = server_.Start(session, Direction::kRead, message, 56);
  EXPECT_EQ(server_.Finish(request.get()), EINVAL);
}

TEST_F(ControlTest, UnknownAccessModeIsEinval) {
  wire::Open open;
  open.device_name = "disk";
  auto message = wire::Encode(open);
  message[4] = 3;
  FakeSession* session = server_.Connect("client");
  auto request = server_.Start(session, Direction::kRead, message, 56);
  EXPECT_EQ(server_.Finish(request.get()), EINVAL);
}

TEST_F(ControlTest, MessagesOfOtherTypesAreEinval) {
  FakeSession* session = server_.Connect("client");
  for (const uint16_t type : {1, 3, 6, 0xffff}) {
    std::vector<uint8_t> message(264);
    rtrs::wire::PutLe(message.data(), type);
    auto request = server_.Start(session, Direction::kRead, message, 64);
    EXPECT_EQ(server_.Finish(request.get()), EINVAL) << type;
  }
}

TEST_F(ControlTest, MessagesThatAreTooShortAreEinval) {
  FakeSession* session = server_.Connect("client");
  wire::Open open;
  open.device_name = "disk";
  const auto message = wire::Encode(open);
  for (const size_t length : {0u, 1u, 3u, 4u, 6u, 263u}) {
    auto request = server_.Start(session, Direction::kRead,
                                 absl::MakeSpan(message).first(length), 64);
    EXPECT_EQ(server_.Finish(request.get()), EINVAL) << length;
  }
}

TEST_F(ControlTest, WriteVerifierOnlyForThoseWhoAnnouncedIt) {
  FakeSession* plain = server_.Connect("plain");
  FakeSession* ours =
      server_.Connect("ours", Capabilities{Capabilities::kWriteVerifier});
  wire::OpenRsp rsp;
  ASSERT_EQ(server_.Open(plain, "disk", AccessMode::kRo, &rsp), 0);
  EXPECT_EQ(rsp.write_verifier, 0u);
  ASSERT_EQ(server_.Open(ours, "disk", AccessMode::kRo, &rsp), 0);
  EXPECT_NE(rsp.write_verifier, 0u);
}

// A client that lost its connection has not lost its writes.
TEST_F(ControlTest, WriteVerifierSurvivesTheSession) {
  const Capabilities announced{Capabilities::kWriteVerifier};
  wire::OpenRsp before;
  wire::OpenRsp after;
  FakeSession* session = server_.Connect("client", announced);
  ASSERT_EQ(server_.Open(session, "disk", AccessMode::kRw, &before), 0);
  server_.Disconnect(session);
  session = server_.Connect("client", announced);
  ASSERT_EQ(server_.Open(session, "disk", AccessMode::kRw, &after), 0);
  EXPECT_EQ(before.write_verifier, after.write_verifier);
}

TEST_F(ControlTest, WriteVerifierDiffersFromFileToFile) {
  const Capabilities announced{Capabilities::kWriteVerifier};
  FakeSession* session = server_.Connect("client", announced);
  wire::OpenRsp disk;
  wire::OpenRsp other;
  ASSERT_EQ(server_.Open(session, "disk", AccessMode::kRw, &disk), 0);
  ASSERT_EQ(server_.Open(session, "other", AccessMode::kRw, &other), 0);
  EXPECT_NE(disk.write_verifier, other.write_verifier);
}

TEST_F(ControlTest, SessionGoesDownWithManyDevicesOpen) {
  FakeSession* session = server_.Connect("client");
  for (int i = 0; i < 64; ++i) {
    server_.dir().MakeFile(absl::StrCat("d", i), 4096);
    server_.MustOpen(session, absl::StrCat("d", i));
  }
  server_.Disconnect(session);
  FakeSession* next = server_.Connect("client");
  EXPECT_EQ(server_.Open(next, "d63", AccessMode::kRw), 0);
}

}  // namespace
}  // namespace rnbd::server
