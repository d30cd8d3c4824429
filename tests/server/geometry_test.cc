// Geometry of files and of block devices, the latter from a sysfs of our own;
// what block devices are asked to do; who else uses a disk.
#include "server/geometry.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "server/blocking_io.h"
#include "server/in_use.h"
#include "server/io_priority.h"
#include "tests/server/fixture.h"

namespace rnbd::server {
namespace {

class GeometryTest : public testing::Test {
 protected:
  int OpenFile(const std::string& name, size_t size) {
    fd_ = rtrs::UniqueFd(open(dir_.MakeFile(name, size).c_str(), O_RDWR));
    return fd_.get();
  }
  void Sysfs(const std::string& name, const std::string& value) {
    const std::string path = dir_.File("sys/" + name);
    std::filesystem::create_directories(
        std::filesystem::path(path).parent_path());
    std::ofstream(path) << value << "\n";
  }

  TempDir dir_;
  rtrs::UniqueFd fd_;
};

TEST_F(GeometryTest, FileInBlocksOf512) {
  auto g = FileGeometry(OpenFile("disk", 1000), true);
  ASSERT_TRUE(g.ok()) << g.status();
  EXPECT_EQ(g->size, 512u);
  EXPECT_EQ(g->logical_block_size, 512u);
  EXPECT_FALSE(g->block_device);
  EXPECT_TRUE(g->write_back);
}

TEST_F(GeometryTest, ProbingForHolesChangesNothing) {
  const int fd = OpenFile("disk", 5000);
  struct stat before {};
  ASSERT_EQ(fstat(fd, &before), 0);
  ASSERT_TRUE(FileGeometry(fd, true).ok());
  struct stat after {};
  ASSERT_EQ(fstat(fd, &after), 0);
  EXPECT_EQ(after.st_size, before.st_size);
  EXPECT_EQ(dir_.Read("disk"), std::string(5000, 0));
}

TEST_F(GeometryTest, TmpfsIsMemory) {
  TempDir shm("/dev/shm");
  const rtrs::UniqueFd fd(open(shm.MakeFile("disk", 4096).c_str(), O_RDWR));
  auto g = FileGeometry(fd.get(), true);
  ASSERT_TRUE(g.ok()) << g.status();
  EXPECT_TRUE(g->memory_backed);
}

TEST_F(GeometryTest, BlockDeviceFromSysfs) {
  const std::string queue = "dev/block/8:16/queue/";
  Sysfs(queue + "logical_block_size", "4096");
  Sysfs(queue + "physical_block_size", "16384");
  Sysfs(queue + "discard_max_bytes", "2147450880");
  Sysfs(queue + "discard_granularity", "8192");
  Sysfs("dev/block/8:16/discard_alignment", "1024");
  Sysfs(queue + "max_hw_sectors_kb", "1280");
  Sysfs(queue + "max_segments", "168");
  Sysfs(queue + "rotational", "1");
  Sysfs(queue + "write_cache", "write through");
  auto g = BlockDeviceGeometry(OpenFile("disk", 100000), makedev(8, 16),
                               dir_.File("sys"));
  ASSERT_TRUE(g.ok()) << g.status();
  EXPECT_TRUE(g->block_device);
  EXPECT_EQ(g->size, 98304u);
  EXPECT_EQ(g->logical_block_size, 4096u);
  EXPECT_EQ(g->physical_block_size, 16384u);
  EXPECT_EQ(g->max_discard_sectors, 2147450880u / 512);
  EXPECT_EQ(g->discard_granularity, 8192u);
  EXPECT_EQ(g->discard_alignment, 1024u);
  EXPECT_EQ(g->max_hw_sectors, 2560u);
  EXPECT_EQ(g->max_segments, 168);
  EXPECT_TRUE(g->rotational);
  EXPECT_FALSE(g->write_back);
}

TEST_F(GeometryTest, PartitionHasTheLimitsOfItsDisk) {
  // /sys/dev/block/8:17 is a link into the directory of the disk.
  Sysfs("block/sdb/queue/logical_block_size", "4096");
  Sysfs("block/sdb/sdb1/size", "64");
  std::filesystem::create_directories(dir_.File("sys/dev/block"));
  ASSERT_EQ(
      symlink("../../block/sdb/sdb1", dir_.File("sys/dev/block/8:17").c_str()),
      0);
  auto g = BlockDeviceGeometry(OpenFile("disk", 32768), makedev(8, 17),
                               dir_.File("sys"));
  ASSERT_TRUE(g.ok()) << g.status();
  EXPECT_EQ(g->logical_block_size, 4096u);
}

TEST_F(GeometryTest, BlockDeviceWithoutSysfsIsServedWithoutDiscard) {
  auto g = BlockDeviceGeometry(OpenFile("disk", 8192), makedev(8, 16),
                               dir_.File("none"));
  ASSERT_TRUE(g.ok()) << g.status();
  EXPECT_EQ(g->logical_block_size, 512u);
  EXPECT_EQ(g->max_discard_sectors, 0u);
  EXPECT_TRUE(g->write_back);
}

TEST_F(GeometryTest, NonsensicalBlockSizeIsRefused) {
  for (const char* size : {"0", "1000", "256", "65536"}) {
    Sysfs("dev/block/8:16/queue/logical_block_size", size);
    EXPECT_FALSE(BlockDeviceGeometry(OpenFile("disk", 8192), makedev(8, 16),
                                     dir_.File("sys"))
                     .ok())
        << size;
  }
}

TEST_F(GeometryTest, DiscardNeedsAGranularity) {
  Sysfs("dev/block/8:16/queue/discard_max_bytes", "4096");
  auto g = BlockDeviceGeometry(OpenFile("disk", 8192), makedev(8, 16),
                               dir_.File("sys"));
  ASSERT_TRUE(g.ok()) << g.status();
  EXPECT_EQ(g->discard_granularity, 512u);
}

TEST(OpenRspTest, CachePolicyFollowsTheCaches) {
  Geometry g;
  g.block_device = true;
  g.direct = true;
  g.write_back = false;
  EXPECT_EQ(ToOpenRsp(g, true).cache_policy, 0);
  g.write_back = true;
  EXPECT_EQ(ToOpenRsp(g, true).cache_policy,
            wire::OpenRsp::kWriteBack | wire::OpenRsp::kFua);
  // Through the page cache, which is one.
  g.write_back = false;
  g.direct = false;
  EXPECT_NE(ToOpenRsp(g, true).cache_policy & wire::OpenRsp::kWriteBack, 0);
}

// What a block device was asked to do.
std::vector<std::pair<unsigned long, std::pair<uint64_t, uint64_t>>>
    recorded;  // NOLINT
int recorded_error = 0;
int RecordIoctl(int, unsigned long request, uint64_t range[2]) {
  recorded.push_back({request, {range[0], range[1]}});
  errno = recorded_error;
  return recorded_error == 0 ? 0 : -1;
}

class BlockOperationTest : public GeometryTest {
 protected:
  BlockOperationTest() {
    recorded.clear();
    recorded_error = 0;
    Geometry g;
    g.block_device = true;
    g.size = 65536;
    const std::string path = dir_.MakeFile("disk", 65536, 'z');
    backing_ = std::make_unique<Backing>(open(path.c_str(), O_RDWR), g,
                                         InlineIo::kNever);
    backing_->range_ioctl = &RecordIoctl;
  }
  int Perform(StorageOp::Kind kind, bool no_unmap = false) {
    StorageOp op;
    op.backing = backing_.get();
    op.kind = kind;
    op.no_unmap = no_unmap;
    op.offset = 4096;
    op.length = 8192;
    return PerformBlocking(&op);
  }
  std::unique_ptr<Backing> backing_;
};

TEST_F(BlockOperationTest, DiscardIsBlkdiscard) {
  EXPECT_EQ(Perform(StorageOp::Kind::kDiscard), 0);
  ASSERT_EQ(recorded.size(), 1u);
  EXPECT_EQ(recorded[0].first, static_cast<unsigned long>(BLKDISCARD));
  EXPECT_EQ(recorded[0].second, std::make_pair(uint64_t{4096}, uint64_t{8192}));
}

TEST_F(BlockOperationTest, SecureEraseIsBlksecdiscard) {
  EXPECT_EQ(Perform(StorageOp::Kind::kSecureErase), 0);
  ASSERT_EQ(recorded.size(), 1u);
  EXPECT_EQ(recorded[0].first, static_cast<unsigned long>(BLKSECDISCARD));
}

TEST_F(BlockOperationTest, WhatTheDeviceLacksIsEopnotsupp) {
  recorded_error = EOPNOTSUPP;
  EXPECT_EQ(Perform(StorageOp::Kind::kSecureErase), EOPNOTSUPP);
  recorded_error = ENOTTY;
  EXPECT_EQ(Perform(StorageOp::Kind::kDiscard), EOPNOTSUPP);
}

TEST_F(BlockOperationTest, ZeroWithoutUnmapIsBlkzeroout) {
  EXPECT_EQ(Perform(StorageOp::Kind::kZero, true), 0);
  ASSERT_EQ(recorded.size(), 1u);
  EXPECT_EQ(recorded[0].first, static_cast<unsigned long>(BLKZEROOUT));
}

TEST_F(BlockOperationTest, ZeroesAreWrittenIfNothingElseWorks) {
  recorded_error = EOPNOTSUPP;
  EXPECT_EQ(Perform(StorageOp::Kind::kZero, true), 0);
  const std::string stored = dir_.Read("disk");
  EXPECT_EQ(stored.substr(4096, 8192), std::string(8192, 0));
  EXPECT_EQ(stored[4095], 'z');
  EXPECT_EQ(stored[4096 + 8192], 'z');
}

// A file that stands for a block device, through the whole server.
TEST_F(GeometryTest, BlockDeviceIsServedByItsOwnRules) {
  ServerFixture::Options options;
  options.sysfs = dir_.File("sys");
  ServerFixture server(options);
  const std::string path = server.dir().MakeFile("node", 65536, 'n');
  ASSERT_EQ(chmod(path.c_str(), 0600 | S_ISVTX), 0);
  struct stat st {};
  ASSERT_EQ(stat(path.c_str(), &st), 0);
  Sysfs("dev/block/" + std::to_string(major(st.st_rdev)) + ":" +
            std::to_string(minor(st.st_rdev)) + "/queue/logical_block_size",
        "4096");
  FakeSession* session = server.Connect("client");
  wire::OpenRsp rsp;
  ASSERT_EQ(server.Open(session, "node", wire::AccessMode::kRw, &rsp), 0);
  EXPECT_EQ(rsp.logical_block_size, 4096);
  EXPECT_EQ(rsp.nsectors, 128u);
  EXPECT_EQ(server.Write(session, 0, 8, std::string(4096, 'w')), 0);
  EXPECT_EQ(server.Write(session, 0, 1, std::string(4096, 'w')), EINVAL);
  EXPECT_EQ(server.Write(session, 0, 0, std::string(512, 'w')), EINVAL);
  std::string data;
  EXPECT_EQ(server.Read(session, 0, 0, 8192, &data), 0);
  EXPECT_EQ(data, std::string(4096, 'n') + std::string(4096, 'w'));
}

TEST_F(GeometryTest, MountedDeviceIsInUse) {
  std::filesystem::create_directories(dir_.File("proc/self"));
  std::ofstream(dir_.File("proc/self/mountinfo"))
      << "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
      << "23 1 8:17 / /srv/data rw,relatime shared:2 - xfs /dev/sdb1 rw\n";
  OpenedExport opened;
  opened.fd = rtrs::UniqueFd(open(dir_.MakeFile("disk", 512).c_str(), O_RDWR));
  opened.block_device = true;
  opened.st.st_rdev = makedev(8, 17);
  EXPECT_EQ(UseOf(opened, dir_.File("proc"), "/sys"), "mounted on /srv/data");
  opened.st.st_rdev = makedev(8, 18);
  EXPECT_EQ(UseOf(opened, dir_.File("proc"), "/sys"), "");
}

TEST_F(GeometryTest, FileBehindALoopDeviceIsInUse) {
  const std::string path = dir_.MakeFile("image", 512);
  Sysfs("block/loop3/loop/backing_file", path);
  Sysfs("block/sda/size", "1");
  OpenedExport opened;
  opened.fd = rtrs::UniqueFd(open(path.c_str(), O_RDWR));
  ASSERT_EQ(fstat(opened.fd.get(), &opened.st), 0);
  EXPECT_EQ(UseOf(opened, "/proc", dir_.File("sys")), "attached to loop3");
  opened.st.st_ino++;
  EXPECT_EQ(UseOf(opened, "/proc", dir_.File("sys")), "");
}

TEST(IoPriorityTest, OnlyWhatMayBeUsed) {
  EXPECT_EQ(UsablePriority(0, true), 0);
  EXPECT_EQ(UsablePriority(0x4004, false), 0x4004);
  EXPECT_EQ(UsablePriority(0x6003, false), 0x6000);
  EXPECT_EQ(UsablePriority(0x2003, true), 0x2003);
  EXPECT_EQ(UsablePriority(0x2003, false), 0x4000);
  EXPECT_EQ(UsablePriority(0xffff, true), 0);
  EXPECT_EQ(UsablePriority(0x4ffc, false), 0x4004);
}

}  // namespace
}  // namespace rnbd::server
