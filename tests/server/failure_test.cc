// Disks that fill up, grow and shrink under the server.
#include <errno.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/server/fixture.h"

namespace rnbd::server {
namespace {

using wire::AccessMode;
using wire::Io;
using wire::Op;

constexpr size_t kFullAt = 256 << 10;
constexpr uint32_t kBlock = 64 << 10;
constexpr uint32_t kBlockSectors = kBlock / wire::kSectorSize;

// A directory that has room for kFullAt bytes.
class SmallDisk {
 public:
  SmallDisk() {
    mounted_ =
        mount("tmpfs", dir_.path().c_str(), "tmpfs", MS_NOSUID | MS_NODEV,
              absl::StrCat("mode=700,size=", kFullAt).c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(dir_.path().c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const std::string& path() const { return dir_.path(); }

 private:
  TempDir dir_;
  bool mounted_ = false;
};

struct Way {
  const char* name;
  EngineKind engine;
  IoMode io;
};

class FailureTest : public testing::TestWithParam<Way> {
 protected:
  // A file without blocks, open for writing.
  void Open(const std::string& parent) {
    ServerFixture::Options options;
    options.parent = parent;
    options.engine = GetParam().engine;
    options.io = GetParam().io;
    server_ = std::make_unique<ServerFixture>(options);
    server_->dir().MakeFile("disk", 0);
    Resize(kDiskSize);
    session_ = server_->Connect("client");
    id_ = server_->MustOpen(session_, "disk");
  }
  void Resize(size_t size) {
    ASSERT_EQ(
        truncate(server_->dir().File("disk").c_str(), static_cast<off_t>(size)),
        0);
  }
  int Write(uint64_t sector, char fill, uint32_t flags = 0) {
    return server_->Write(session_, id_, sector, std::string(kBlock, fill),
                          flags);
  }
  int Read(uint64_t sector, std::string* data) {
    return server_->Read(session_, id_, sector, kBlock, data);
  }
  int Do(Op op, uint64_t sector, uint32_t length) {
    Io io;
    io.device_id = id_;
    io.op = op;
    io.sector = sector;
    io.length = length;
    return server_->Do(session_, io);
  }

  SmallDisk small_;
  std::unique_ptr<ServerFixture> server_;
  FakeSession* session_ = nullptr;
  uint32_t id_ = 0;
};

INSTANTIATE_TEST_SUITE_P(
    Ways, FailureTest,
    testing::Values(Way{"inline", EngineKind::kThreads, IoMode::kAuto},
                    Way{"threads", EngineKind::kThreads, IoMode::kQueued},
                    Way{"io_uring", EngineKind::kUring, IoMode::kQueued}),
    [](const auto& param) { return std::string(param.param.name); });

TEST_P(FailureTest, AFullDiskIsEnospcAndServesOn) {
  if (!small_.mounted()) GTEST_SKIP() << "needs the right to mount a tmpfs";
  Open(small_.path());
  uint32_t written = 0;
  int error = 0;
  while (written < kDiskSize / kBlock &&
         (error = Write(written * kBlockSectors, 'w')) == 0) {
    ++written;
  }
  EXPECT_EQ(error, ENOSPC);
  ASSERT_GT(written, 0u);
  ASSERT_LT(written, kDiskSize / kBlock);
  // What was acknowledged is there, the rest answers in order.
  std::string data;
  for (uint32_t i = 0; i < written; ++i) {
    ASSERT_EQ(Read(i * kBlockSectors, &data), 0);
    EXPECT_EQ(data, std::string(kBlock, 'w')) << i;
  }
  EXPECT_EQ(Read(kDiskSize / wire::kSectorSize - kBlockSectors, &data), 0);
  EXPECT_EQ(data, std::string(kBlock, 0));
  // Room is made by a discard, as a client would.
  EXPECT_EQ(Do(Op::kDiscard, 0, kBlock), 0);
  EXPECT_EQ(Write(kBlockSectors, 'n'), 0);
  EXPECT_EQ(Do(Op::kFlush, 0, 0), 0);
}

TEST_P(FailureTest, ADeviceThatGrowsIsServedToItsEnd) {
  Open(DiskDirectory());
  std::string data;
  EXPECT_EQ(Read(kDiskSize / wire::kSectorSize, &data), EIO);
  Resize(2 * kDiskSize);
  server_->opener().LookAtSizes();
  EXPECT_EQ(Read(kDiskSize / wire::kSectorSize, &data), 0);
  EXPECT_EQ(Write(2 * kDiskSize / wire::kSectorSize - kBlockSectors, 'e'), 0);
  EXPECT_EQ(Write(2 * kDiskSize / wire::kSectorSize, 'e'), EIO);
  EXPECT_EQ(server_->dir().Read("disk").size(), 2 * kDiskSize);
}

TEST_P(FailureTest, ADeviceThatGrowsIsServedToItsEndBeforeItIsLookedAt) {
  Open(DiskDirectory());
  EXPECT_EQ(Write(kDiskSize / wire::kSectorSize, 'e'), EIO);
  Resize(2 * kDiskSize);
  EXPECT_EQ(Write(2 * kDiskSize / wire::kSectorSize - kBlockSectors, 'e'), 0);
  std::string data;
  EXPECT_EQ(Read(2 * kDiskSize / wire::kSectorSize - kBlockSectors, &data), 0);
  EXPECT_EQ(data, std::string(kBlock, 'e'));
  EXPECT_EQ(Write(2 * kDiskSize / wire::kSectorSize, 'e'), EIO);
}

TEST_P(FailureTest, ADeviceThatShrinksIsNotWrittenBeyondItsEnd) {
  Open(DiskDirectory());
  Resize(kDiskSize / 2);
  server_->opener().LookAtSizes();
  std::string data;
  EXPECT_EQ(Write(kDiskSize / 2 / wire::kSectorSize, 'e'), EIO);
  EXPECT_EQ(Read(kDiskSize / 2 / wire::kSectorSize, &data), EIO);
  EXPECT_EQ(Write(kDiskSize / 2 / wire::kSectorSize - kBlockSectors, 'e'), 0);
  EXPECT_EQ(server_->dir().Read("disk").size(), kDiskSize / 2);
}

TEST_P(FailureTest, ADeviceThatIsClosedIsNotLookedAtAnyMore) {
  Open(DiskDirectory());
  EXPECT_EQ(server_->Close(session_, id_), 0);
  server_->opener().LookAtSizes();
  wire::OpenRsp rsp;
  Resize(2 * kDiskSize);
  EXPECT_EQ(server_->Open(session_, "disk", AccessMode::kRw, &rsp), 0);
  EXPECT_EQ(rsp.nsectors, 2 * kDiskSize / wire::kSectorSize);
}

}  // namespace
}  // namespace rnbd::server
