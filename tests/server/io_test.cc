// IO messages on real files, through every storage engine.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/server/fixture.h"

namespace rnbd::server {
namespace {

using rtrs::server::Direction;
using wire::AccessMode;
using wire::Io;
using wire::Op;

struct Way {
  const char* name;
  std::string parent;
  EngineKind engine;
  IoMode io;
};

class IoTest : public testing::TestWithParam<Way> {
 protected:
  IoTest() : server_(OptionsOf(GetParam())) {
    server_.dir().MakeFile("disk", kDiskSize, 'a');
    session_ = server_.Connect("client");
    id_ = server_.MustOpen(session_, "disk");
  }

  static ServerFixture::Options OptionsOf(const Way& way) {
    ServerFixture::Options options;
    options.parent = way.parent;
    options.io = way.io;
    options.engine = way.engine;
    return options;
  }

  Io MakeIo(Op op, uint64_t sector, uint32_t length, uint32_t flags = 0) const {
    Io io;
    io.device_id = id_;
    io.op = op;
    io.sector = sector;
    io.length = length;
    io.flags = flags;
    return io;
  }
  int Do(Op op, uint64_t sector, uint32_t length, uint32_t flags = 0) {
    return server_.Do(session_, MakeIo(op, sector, length, flags));
  }
  // What the file holds from byte `offset` on.
  std::string Stored(size_t offset, size_t length) {
    return server_.dir().Read("disk").substr(offset, length);
  }

  ServerFixture server_;
  FakeSession* session_ = nullptr;
  uint32_t id_ = 0;
};

INSTANTIATE_TEST_SUITE_P(
    Engines, IoTest,
    testing::Values(
        Way{"ThreadsOnDisk", DiskDirectory(), EngineKind::kThreads,
            IoMode::kAuto},
        Way{"UringOnDisk", DiskDirectory(), EngineKind::kUring, IoMode::kAuto},
        Way{"ThreadsDirect", DiskDirectory(), EngineKind::kThreads,
            IoMode::kDirect},
        Way{"UringDirect", DiskDirectory(), EngineKind::kUring,
            IoMode::kDirect},
        Way{"ThreadsOnTmpfs", "/dev/shm", EngineKind::kThreads, IoMode::kAuto},
        Way{"UringOnTmpfs", "/dev/shm", EngineKind::kUring, IoMode::kAuto}),
    [](const auto& param) { return param.param.name; });

TEST_P(IoTest, ReadsWhatTheFileHolds) {
  std::string data;
  ASSERT_EQ(server_.Read(session_, id_, 3, 4096, &data), 0);
  EXPECT_EQ(data, std::string(4096, 'a'));
}

TEST_P(IoTest, WritesWhereItWasTold) {
  ASSERT_EQ(server_.Write(session_, id_, 9, std::string(4096, 'b')), 0);
  EXPECT_EQ(Stored(9 * 512 - 1, 4098),
            absl::StrCat("a", std::string(4096, 'b'), "a"));
}

TEST_P(IoTest, ReadsBackAWholeChunk) {
  std::string pattern;
  for (size_t i = 0; i < ServerFixture::kChunkSize - 4096; ++i) {
    pattern.push_back(static_cast<char>(i * 7 + i / 512));
  }
  ASSERT_EQ(server_.Write(session_, id_, 8, pattern), 0);
  std::string data;
  ASSERT_EQ(server_.Read(session_, id_, 8,
                         static_cast<uint32_t>(pattern.size()), &data),
            0);
  EXPECT_EQ(data, pattern);
}

TEST_P(IoTest, ServesTheFirstAndTheLastSector) {
  const uint64_t last = kDiskSize / 512 - 1;
  EXPECT_EQ(server_.Write(session_, id_, 0, std::string(512, 'x')), 0);
  EXPECT_EQ(server_.Write(session_, id_, last, std::string(512, 'y')), 0);
  EXPECT_EQ(Stored(0, 512), std::string(512, 'x'));
  EXPECT_EQ(Stored(kDiskSize - 512, 512), std::string(512, 'y'));
  EXPECT_EQ(server_.dir().Read("disk").size(), kDiskSize);
}

TEST_P(IoTest, ManyAtOnceAllAnswer) {
  std::vector<std::unique_ptr<FakeRequest>> requests;
  for (uint32_t i = 0; i < ServerFixture::kChunks; ++i) {
    const bool write = i % 2 == 0;
    requests.push_back(server_.StartIo(
        session_, MakeIo(write ? Op::kWrite : Op::kRead, i * 16, 8192),
        write ? Direction::kWrite : Direction::kRead, 8192,
        write ? std::string(8192, static_cast<char>('A' + i)) : ""));
  }
  for (auto& request : requests) EXPECT_EQ(server_.Finish(request.get()), 0);
  EXPECT_EQ(Stored(2 * 8192, 8192), std::string(8192, 'C'));
  EXPECT_EQ(Stored(3 * 8192, 8192), std::string(8192, 'a'));
}

// What woke the worker for the last answer must not wake it for ever.
TEST_P(IoTest, AWorkerWithoutRequestsSleeps) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(server_.Write(session_, id_, 0, std::string(4096, 'w'), Io::kFua),
              0);
    // Once more if a task was posted meanwhile.
    while (server_.worker().Progress() || !server_.worker().Arm()) {
    }
    pollfd fd = {server_.engine()->fd(), POLLIN, 0};
    ASSERT_EQ(poll(&fd, 1, 0), 0) << "after write " << i;
  }
}

TEST_P(IoTest, FlushSucceedsInEitherDirection) {
  Io io = MakeIo(Op::kFlush, ~0ull, 0, Io::kFua);
  EXPECT_EQ(server_.Do(session_, io, Direction::kRead), 0);
  EXPECT_EQ(server_.Do(session_, io, Direction::kWrite), 0);
}

TEST_P(IoTest, WriteWithFuaAndPreflush) {
  EXPECT_EQ(server_.Write(session_, id_, 8, std::string(4096, 'f'),
                          Io::kFua | Io::kPreflush | Io::kSync),
            0);
  EXPECT_EQ(Stored(4096, 4096), std::string(4096, 'f'));
}

TEST_P(IoTest, EmptyWriteIsAFlush) {
  EXPECT_EQ(Do(Op::kWrite, ~0ull, 0, Io::kPreflush), 0);
  EXPECT_EQ(Do(Op::kWrite, 0, 0, Io::kFua), 0);
  EXPECT_EQ(Do(Op::kWrite, 0, 0), 0);
}

TEST_P(IoTest, DiscardMakesAHole) {
  ASSERT_EQ(server_.Write(session_, id_, 0, std::string(65536, 'b')), 0);
  ASSERT_EQ(Do(Op::kFlush, 0, 0), 0);
  EXPECT_EQ(Do(Op::kDiscard, 0, 65536), 0);
  EXPECT_EQ(Stored(0, 65536), std::string(65536, 0));
  struct stat st {};
  ASSERT_EQ(stat(server_.dir().File("disk").c_str(), &st), 0);
  EXPECT_LT(static_cast<size_t>(st.st_blocks) * 512, kDiskSize);
}

TEST_P(IoTest, DiscardOfAnOddRangeLeavesTheRest) {
  EXPECT_EQ(Do(Op::kDiscard, 1, 512 * 3), 0);
  EXPECT_EQ(Stored(0, 512), std::string(512, 'a'));
  EXPECT_EQ(Stored(4 * 512, 512), std::string(512, 'a'));
}

TEST_P(IoTest, WriteZeroes) {
  EXPECT_EQ(Do(Op::kWriteZeroes, 5, 70000 / 512 * 512), 0);
  EXPECT_EQ(Stored(5 * 512, 70000 / 512 * 512),
            std::string(70000 / 512 * 512, 0));
  EXPECT_EQ(Stored(0, 5 * 512), std::string(5 * 512, 'a'));
}

TEST_P(IoTest, WriteZeroesWithoutUnmapKeepsTheBlocks) {
  struct stat before {};
  ASSERT_EQ(stat(server_.dir().File("disk").c_str(), &before), 0);
  EXPECT_EQ(Do(Op::kWriteZeroes, 0, 1 << 19, Io::kNoUnmap | Io::kFua), 0);
  EXPECT_EQ(Stored(0, 1 << 19), std::string(1 << 19, 0));
  EXPECT_EQ(Stored(1 << 19, 512), std::string(512, 'a'));
  struct stat after {};
  ASSERT_EQ(stat(server_.dir().File("disk").c_str(), &after), 0);
  EXPECT_GE(after.st_blocks, before.st_blocks);
}

// Operation 5 from kernels before 5.18: one block, to be written repeatedly.
TEST_P(IoTest, WriteSameRepeatsItsBlock) {
  std::string block;
  for (int i = 0; i < 512; ++i) block.push_back(static_cast<char>(i));
  auto request = server_.StartIo(session_, MakeIo(Op::kWriteZeroes, 3, 200704),
                                 Direction::kWrite, block.size(), block);
  ASSERT_EQ(server_.Finish(request.get()), 0);
  const std::string stored = Stored(3 * 512, 200704);
  for (size_t i = 0; i < stored.size(); i += 512) {
    ASSERT_EQ(stored.substr(i, 512), block) << "at " << i;
  }
  EXPECT_EQ(Stored(3 * 512 + 200704, 512), std::string(512, 'a'));
}

TEST_P(IoTest, OperationFiveWithAllItsDataIsAWrite) {
  auto request =
      server_.StartIo(session_, MakeIo(Op::kWriteZeroes, 0, 4096),
                      Direction::kWrite, 4096, std::string(4096, 'w'));
  ASSERT_EQ(server_.Finish(request.get()), 0);
  EXPECT_EQ(Stored(0, 4096), std::string(4096, 'w'));
}

TEST_P(IoTest, OperationFiveWithOddDataIsRefused) {
  auto request = server_.StartIo(session_, MakeIo(Op::kWriteZeroes, 0, 4096),
                                 Direction::kWrite, 500, std::string(500, 'w'));
  EXPECT_EQ(server_.Finish(request.get()), EINVAL);
  EXPECT_EQ(Stored(0, 512), std::string(512, 'a'));
}

TEST_P(IoTest, SecureEraseOfAFileIsNotSupported) {
  EXPECT_EQ(Do(Op::kSecureErase, 0, 4096), EOPNOTSUPP);
  EXPECT_EQ(Stored(0, 512), std::string(512, 'a'));
}

TEST_P(IoTest, BeyondTheEndIsEio) {
  const uint64_t sectors = kDiskSize / 512;
  std::string data;
  EXPECT_EQ(server_.Read(session_, id_, sectors, 512, &data), EIO);
  EXPECT_EQ(server_.Read(session_, id_, sectors - 1, 1024, &data), EIO);
  EXPECT_EQ(server_.Write(session_, id_, sectors - 1, std::string(1024, 'z')),
            EIO);
  EXPECT_EQ(Do(Op::kDiscard, sectors - 8, 8192), EIO);
  EXPECT_EQ(Do(Op::kWriteZeroes, 0, kDiskSize + 512), EIO);
  EXPECT_EQ(server_.dir().Read("disk").size(), kDiskSize);
  EXPECT_EQ(Stored(kDiskSize - 512, 512), std::string(512, 'a'));
}

TEST_P(IoTest, RangesThatWrapAreEio) {
  EXPECT_EQ(Do(Op::kDiscard, ~0ull, 512), EIO);
  EXPECT_EQ(Do(Op::kDiscard, (1ull << 55) + 1, 4096), EIO);
  EXPECT_EQ(Do(Op::kWriteZeroes, 8, 0xfffffe00), EIO);
  EXPECT_EQ(server_.dir().Read("disk"), std::string(kDiskSize, 'a'));
}

TEST_P(IoTest, MisalignedLengthIsEinval) {
  EXPECT_EQ(server_.Write(session_, id_, 0, std::string(513, 'z')), EINVAL);
  EXPECT_EQ(Do(Op::kDiscard, 0, 100), EINVAL);
  std::string data;
  EXPECT_EQ(server_.Read(session_, id_, 0, 1, &data), EINVAL);
}

TEST_P(IoTest, ByteCountMustEqualTheData) {
  auto longer = server_.StartIo(session_, MakeIo(Op::kRead, 0, 8192),
                                Direction::kRead, 4096);
  EXPECT_EQ(server_.Finish(longer.get()), EINVAL);
  auto shorter = server_.StartIo(session_, MakeIo(Op::kWrite, 0, 4096),
                                 Direction::kWrite, 8192);
  EXPECT_EQ(server_.Finish(shorter.get()), EINVAL);
}

TEST_P(IoTest, DirectionMustFitTheOperation) {
  auto read = server_.StartIo(session_, MakeIo(Op::kRead, 0, 4096),
                              Direction::kWrite, 4096);
  EXPECT_EQ(server_.Finish(read.get()), EINVAL);
  auto write = server_.StartIo(session_, MakeIo(Op::kWrite, 0, 4096),
                               Direction::kRead, 4096);
  EXPECT_EQ(server_.Finish(write.get()), EINVAL);
}

// The chunk's old content would go to the client as the "data" of the answer.
TEST_P(IoTest, OperationsWithoutReplyTakeNoBuffer) {
  for (const Op op : {Op::kFlush, Op::kDiscard, Op::kWriteZeroes}) {
    auto request =
        server_.StartIo(session_, MakeIo(op, 0, 4096), Direction::kRead, 4096);
    EXPECT_EQ(server_.Finish(request.get()), EINVAL) << wire::OpName(op);
  }
}

TEST_P(IoTest, UnknownDeviceIsEnotconn) {
  for (const uint32_t id : {id_ + 1, 4095u, 4096u, 0xffffffffu}) {
    Io io = MakeIo(Op::kFlush, 0, 0);
    io.device_id = id;
    EXPECT_EQ(server_.Do(session_, io), ENOTCONN) << id;
  }
}

TEST_P(IoTest, ClosedDeviceIsEnotconn) {
  ASSERT_EQ(server_.Close(session_, id_), 0);
  EXPECT_EQ(Do(Op::kFlush, 0, 0), ENOTCONN);
}

TEST_P(IoTest, ReadOnlyIsEnforcedOnEveryRequest) {
  ASSERT_EQ(server_.Close(session_, id_), 0);
  id_ = server_.MustOpen(session_, "disk", AccessMode::kRo);
  EXPECT_EQ(server_.Write(session_, id_, 0, std::string(512, 'z')), EROFS);
  EXPECT_EQ(Do(Op::kDiscard, 0, 512), EROFS);
  EXPECT_EQ(Do(Op::kWriteZeroes, 0, 512), EROFS);
  EXPECT_EQ(Do(Op::kSecureErase, 0, 512), EROFS);
  EXPECT_EQ(Do(Op::kWrite, 0, 0, Io::kFua), EROFS);
  EXPECT_EQ(Do(Op::kFlush, 0, 0), 0);
  std::string data;
  EXPECT_EQ(server_.Read(session_, id_, 0, 512, &data), 0);
  EXPECT_EQ(server_.dir().Read("disk"), std::string(kDiskSize, 'a'));
}

TEST_P(IoTest, ReadOfATruncatedFileIsEio) {
  ASSERT_EQ(truncate(server_.dir().File("disk").c_str(), 6144), 0);
  std::string data;
  EXPECT_EQ(server_.Read(session_, id_, 8, 4096, &data), EIO);
  EXPECT_EQ(server_.Read(session_, id_, 0, 4096, &data), 0);
}

TEST_P(IoTest, PriorityIsNoError) {
  for (const uint16_t priority : {0x4004, 0x2003, 0x6000, 0xffff, 0x0007}) {
    Io io = MakeIo(Op::kWrite, 0, 4096);
    io.priority = priority;
    auto request = server_.StartIo(session_, io, Direction::kWrite, 4096);
    EXPECT_EQ(server_.Finish(request.get()), 0) << priority;
  }
}

TEST_P(IoTest, ShortIoMessageIsEinval) {
  std::vector<uint8_t> message = IoMessage(MakeIo(Op::kFlush, 0, 0));
  message.resize(Io::kMinSize - 1);
  auto request = server_.Start(session_, Direction::kWrite, message, 0);
  EXPECT_EQ(server_.Finish(request.get()), EINVAL);
}

TEST_P(IoTest, UnknownOperationIsNotExecuted) {
  std::vector<uint8_t> message = IoMessage(MakeIo(Op::kWrite, 0, 4096));
  message[16] = 77;
  auto request = server_.Start(session_, Direction::kWrite, message, 4096);
  EXPECT_EQ(server_.Finish(request.get()), EOPNOTSUPP);
  EXPECT_EQ(Stored(0, 512), std::string(512, 'a'));
}

}  // namespace
}  // namespace rnbd::server
