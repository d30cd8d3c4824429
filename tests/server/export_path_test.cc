// Names to files: joined as the kernel does, and no way out.
#include "server/export_path.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "tests/server/fixture.h"

namespace rnbd::server {
namespace {

using wire::AccessMode;

std::string Joined(const std::string& search_path, absl::string_view session,
                   absl::string_view name) {
  auto joined = ExportPath(search_path).Join(session, name);
  return joined.ok() ? *joined
                     : absl::StrCat("error ", joined.status().message());
}

TEST(JoinTest, AsTheKernelDoes) {
  EXPECT_EQ(Joined("/", "s", "dev/sda"), "/dev/sda");
  EXPECT_EQ(Joined("/srv", "s", "disk"), "/srv/disk");
  EXPECT_EQ(Joined("/srv/", "s", "/disk"), "/srv/disk");
  EXPECT_EQ(Joined("/srv", "s", "a//b"), "/srv/a/b");
}

TEST(JoinTest, SessionNameReplacesTheMarkAndDropsWhatFollows) {
  EXPECT_EQ(Joined("/srv/%SESSNAME%", "host1", "disk"), "/srv/host1/disk");
  EXPECT_EQ(Joined("/srv/%SESSNAME%/sub", "host1", "disk"), "/srv/host1/disk");
  EXPECT_EQ(Joined("/srv/a-%SESSNAME%", "host1", "disk"), "/srv/a-/host1/disk");
  EXPECT_EQ(Joined("/%SESSNAME%/%SESSNAME%", "h", "d"), "/h/d");
}

TEST(JoinTest, DotDotIsEinvalWhereverItStands) {
  const ExportPath path("/srv");
  for (const char* name : {"..", "../x", "a/../b", "a..b", "x/..", "..."}) {
    EXPECT_EQ(rtrs::ErrnoOf(path.Join("s", name).status()), EINVAL) << name;
  }
}

TEST(JoinTest, EmptyNameIsEinval) {
  EXPECT_EQ(rtrs::ErrnoOf(ExportPath("/srv").Join("s", "").status()), EINVAL);
}

TEST(JoinTest, TooLongIsEinval) {
  const ExportPath path("/srv/" + std::string(4000, 'x'));
  EXPECT_EQ(rtrs::ErrnoOf(path.Join("s", std::string(200, 'y')).status()),
            EINVAL);
}

// The engine refuses such names before; this does not rely on it.
TEST(JoinTest, SessionNameCannotLeadAway) {
  const ExportPath path("/srv/%SESSNAME%");
  for (const char* session : {"", ".", "..", "a/b", "../x"}) {
    EXPECT_EQ(rtrs::ErrnoOf(path.Join(session, "d").status()), EINVAL)
        << session;
  }
}

TEST(CheckTest, SearchPathMustBeAnAbsoluteDirectory) {
  EXPECT_TRUE(ExportPath::Check("/").ok());
  EXPECT_TRUE(ExportPath::Check("/tmp").ok());
  EXPECT_TRUE(ExportPath::Check("/tmp/%SESSNAME%").ok());
  for (const char* path :
       {"", "tmp", "./x", "/no/such/directory", "/etc/passwd"}) {
    const absl::Status status = ExportPath::Check(path);
    EXPECT_FALSE(status.ok()) << path;
    EXPECT_NE(status.message().find("--dev_search_path"), std::string::npos);
  }
}

class OpenTest : public testing::Test {
 protected:
  OpenTest() {
    dir_.MakeFile("exports/disk", 4096, 'd');
    dir_.MakeFile("exports/sub/disk", 4096, 's');
    dir_.MakeFile("outside/secret", 4096, 'x');
    dir_.MakeFile("outside/device", 4096, 'b');
    // The node that StickyIsBlockDevice takes for a block device.
    chmod(dir_.File("outside/device").c_str(), 0600 | S_ISVTX);
  }

  void Link(const std::string& target, const std::string& name) {
    ASSERT_EQ(symlink(target.c_str(), dir_.File(name).c_str()), 0);
  }
  // 0 or the errno of opening `name` for `session`.
  int Open(const std::string& name, AccessMode mode = AccessMode::kRw,
           const std::string& session = "session") {
    StickyIsBlockDevice path(dir_.File(suffix_));
    return rtrs::ErrnoOf(path.Open(session, name, mode).status());
  }
  // The first byte of what `name` leads to.
  char First(const std::string& name) {
    StickyIsBlockDevice path(dir_.File(suffix_));
    auto opened = path.Open("session", name, AccessMode::kRo);
    char c = 0;
    EXPECT_TRUE(opened.ok()) << opened.status();
    if (opened.ok()) {
      EXPECT_EQ(pread(opened->fd.get(), &c, 1, 0), 1);
    }
    return c;
  }

  TempDir dir_;
  std::string suffix_ = "exports";
};

TEST_F(OpenTest, FilesBelowTheSearchPath) {
  EXPECT_EQ(First("disk"), 'd');
  EXPECT_EQ(First("/disk"), 'd');
  EXPECT_EQ(First("./disk"), 'd');
  EXPECT_EQ(First("sub/disk"), 's');
  EXPECT_EQ(First("sub//disk"), 's');
}

TEST_F(OpenTest, LinksWithinTheSearchPath) {
  Link("disk", "exports/relative");
  Link(dir_.File("exports/disk"), "exports/absolute");
  Link("../exports/sub/disk", "exports/around");
  Link(dir_.File("exports/sub"), "exports/directory");
  Link("relative", "exports/second");
  EXPECT_EQ(First("relative"), 'd');
  EXPECT_EQ(First("absolute"), 'd');
  EXPECT_EQ(First("around"), 's');
  EXPECT_EQ(First("directory/disk"), 's');
  EXPECT_EQ(First("second"), 'd');
}

TEST_F(OpenTest, LinksToFilesOutsideAreEacces) {
  Link(dir_.File("outside/secret"), "exports/absolute");
  Link("../outside/secret", "exports/relative");
  Link("absolute", "exports/second");
  Link("/etc/passwd", "exports/passwd");
  for (const char* name : {"absolute", "relative", "second", "passwd"}) {
    EXPECT_EQ(Open(name, AccessMode::kRo), EACCES) << name;
  }
}

TEST_F(OpenTest, LinksToDirectoriesOutsideAreEacces) {
  Link("..", "exports/up");
  Link(dir_.File("outside"), "exports/out");
  Link("/", "exports/root");
  for (const char* name :
       {"up/outside/secret", "out/secret", "root/etc/passwd"}) {
    EXPECT_EQ(Open(name, AccessMode::kRo), EACCES) << name;
  }
}

// Not even for what is in them.
TEST_F(OpenTest, DirectoryLinksDoNotLeadToBlockDevices) {
  Link(dir_.File("outside"), "exports/out");
  EXPECT_EQ(Open("out/device"), EACCES);
}

// Out through one link and back through a path inside it.
TEST_F(OpenTest, DirectoryLinksThatComeBackAreFine) {
  Link("..", "exports/up");
  EXPECT_EQ(Open("up/exports/disk"), 0);
}

TEST_F(OpenTest, LinksToBlockDevicesMayLeave) {
  Link(dir_.File("outside/device"), "exports/absolute");
  Link("../outside/device", "exports/relative");
  Link("relative", "exports/second");
  EXPECT_EQ(First("absolute"), 'b');
  EXPECT_EQ(First("relative"), 'b');
  EXPECT_EQ(First("second"), 'b');
}

TEST_F(OpenTest, NeighbourWithTheSamePrefixIsOutside) {
  dir_.MakeFile("exports2/disk", 4096, '2');
  Link("../exports2/disk", "exports/neighbour");
  EXPECT_EQ(Open("neighbour"), EACCES);
}

TEST_F(OpenTest, LinksOfProcLeadNowhere) {
  const std::string disk = dir_.File("exports/disk");
  const int fd = open(disk.c_str(), O_RDONLY);
  ASSERT_GE(fd, 0);
  Link(absl::StrCat("/proc/self/fd/", fd), "exports/magic");
  Link("/proc/self/root", "exports/root");
  EXPECT_EQ(Open("magic", AccessMode::kRo), ELOOP);
  EXPECT_EQ(Open("root/etc/passwd", AccessMode::kRo), ELOOP);
  close(fd);
}

TEST_F(OpenTest, LinksInACircleAreEloop) {
  Link("b", "exports/a");
  Link("a", "exports/b");
  EXPECT_EQ(Open("a"), ELOOP);
}

TEST_F(OpenTest, WhatIsNoDiskIsEnotblk) {
  ASSERT_EQ(mkfifo(dir_.File("exports/fifo").c_str(), 0600), 0);
  Link("/dev/null", "exports/null");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string socket_path = dir_.File("exports/socket");
  ASSERT_LT(socket_path.size(), sizeof(address.sun_path));
  socket_path.copy(address.sun_path, socket_path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
  close(fd);
  for (const char* name : {"fifo", "socket", "sub", "/", ".", "sub/"}) {
    EXPECT_EQ(Open(name), ENOTBLK) << name;
  }
  EXPECT_EQ(Open("null"), EACCES);
}

TEST_F(OpenTest, ErrorsOfTheFileSystemPassThrough) {
  EXPECT_EQ(Open("missing"), ENOENT);
  EXPECT_EQ(Open("missing/disk"), ENOENT);
  EXPECT_EQ(Open("disk/disk"), ENOTDIR);
  EXPECT_EQ(Open("disk/"), ENOTDIR);
  EXPECT_EQ(Open(std::string(256, 'n')), ENAMETOOLONG);
}

TEST_F(OpenTest, ModeDecidesHowItIsOpened) {
  StickyIsBlockDevice path(dir_.File("exports"));
  for (const AccessMode mode :
       {AccessMode::kRo, AccessMode::kRw, AccessMode::kMigration}) {
    auto opened = path.Open("s", "disk", mode);
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(fcntl(opened->fd.get(), F_GETFL) & O_ACCMODE,
              mode == AccessMode::kRo ? O_RDONLY : O_RDWR);
  }
}

TEST_F(OpenTest, SessionsHaveTheirOwnDirectory) {
  suffix_ = "exports/%SESSNAME%";
  dir_.MakeFile("exports/host1/disk", 4096);
  dir_.MakeFile("exports/host2/disk", 4096);
  Link("../host2/disk", "exports/host1/stolen");
  EXPECT_EQ(Open("disk", AccessMode::kRw, "host1"), 0);
  EXPECT_EQ(Open("stolen", AccessMode::kRw, "host1"), EACCES);
  EXPECT_EQ(Open("disk", AccessMode::kRw, "host3"), ENOENT);
}

TEST_F(OpenTest, SessionDirectoryMayBeALinkToAnother) {
  suffix_ = "exports/%SESSNAME%";
  dir_.MakeFile("exports/host1/disk", 4096);
  Link("host1", "exports/alias");
  EXPECT_EQ(Open("disk", AccessMode::kRw, "alias"), 0);
}

TEST_F(OpenTest, SessionDirectoryMayNotBeALinkOut) {
  suffix_ = "exports/%SESSNAME%";
  Link("../outside", "exports/host1");
  EXPECT_EQ(Open("secret", AccessMode::kRo, "host1"), EACCES);
}

TEST_F(OpenTest, SearchPathItselfMayBeALink) {
  Link("exports", "link");
  suffix_ = "link";
  EXPECT_EQ(First("disk"), 'd');
}

TEST_F(OpenTest, WholeFileSystemCanBeServed) {
  const ExportPath path("/");
  auto opened = path.Open("s", dir_.File("exports/disk"), AccessMode::kRo);
  EXPECT_TRUE(opened.ok()) << opened.status();
}

// A name that changes between a file inside and a link outside: each open gets
// the one or an error, never the other.
TEST_F(OpenTest, RacingLinksNeverLeadOut) {
  Link(dir_.File("outside/secret"), "exports/bad");
  std::atomic<bool> stop{false};
  std::thread racer([this, &stop] {
    const std::string bad = dir_.File("exports/bad");
    const std::string name = dir_.File("exports/racing");
    const std::string disk = dir_.File("exports/disk");
    const std::string next = dir_.File("exports/next");
    for (uint64_t i = 0; !stop.load(); ++i) {
      if (i % 2 == 0) {
        ASSERT_EQ(symlink(bad.c_str(), next.c_str()), 0);
      } else {
        ASSERT_EQ(link(disk.c_str(), next.c_str()), 0);
      }
      ASSERT_EQ(rename(next.c_str(), name.c_str()), 0);
      unlink(next.c_str());  // rename does nothing between two of one file
    }
  });
  StickyIsBlockDevice path(dir_.File("exports"));
  int opened_count = 0;
  for (int i = 0; i < 20000; ++i) {
    auto opened = path.Open("s", "racing", AccessMode::kRo);
    if (!opened.ok()) continue;
    char c = 0;
    ASSERT_EQ(pread(opened->fd.get(), &c, 1, 0), 1);
    ASSERT_EQ(c, 'd') << "the file outside was opened";
    ++opened_count;
  }
  stop.store(true);
  racer.join();
  EXPECT_GT(opened_count, 0);
}

}  // namespace
}  // namespace rnbd::server
