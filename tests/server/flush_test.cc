// Flush never lies, CLOSE waits: with a storage engine that holds operations
// until the test says how they end.
#include <errno.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <deque>
#include <string>

#include "tests/server/fixture.h"

namespace rnbd::server {
namespace {

using rtrs::server::Direction;
using rtrs::wire::Capabilities;
using wire::AccessMode;
using wire::Io;
using wire::Op;
using Kind = StorageOp::Kind;

// Completes operations only when told to, with the result it is told.
class HeldEngine final : public StorageEngine {
 public:
  HeldEngine() : event_(eventfd(0, EFD_CLOEXEC)) {}
  ~HeldEngine() override { close(event_); }

  void Submit(StorageOp* op) override { held.push_back(op); }
  void ForgetFile(uint32_t, uint64_t) override { ++files_forgotten; }
  void ForgetMemory(int16_t) override {}
  const char* name() const override { return "held"; }
  bool Progress() override { return false; }
  size_t in_flight() const override { return held.size(); }
  int fd() const override { return event_; }
  bool Arm() override { return true; }

  // Ends the oldest operation.
  void End(int error) {
    StorageOp* op = held.front();
    held.pop_front();
    op->done(op, error);
  }

  std::deque<StorageOp*> held;
  int files_forgotten = 0;

 private:
  const int event_;
};

class FlushTest : public testing::Test {
 protected:
  // Direct I/O keeps everything away from the inline path.
  FlushTest() : server_(OptionsFor(&engine_)) {
    server_.dir().MakeFile("disk", kDiskSize);
    session_ = server_.Connect("client", announced_);
    id_ = server_.MustOpen(session_, "disk");
  }

  static ServerFixture::Options OptionsFor(StorageEngine* engine) {
    ServerFixture::Options options;
    options.io = IoMode::kDirect;
    options.own_engine = engine;
    return options;
  }

  std::unique_ptr<FakeRequest> Start(Op op, uint32_t length, uint32_t flags,
                                     FakeSession* session = nullptr) {
    Io io;
    io.device_id = id_;
    io.op = op;
    io.length = length;
    io.flags = flags;
    return server_.StartIo(
        session == nullptr ? session_ : session, io,
        op == Op::kRead ? Direction::kRead : Direction::kWrite,
        op == Op::kWrite || op == Op::kRead ? length : 0);
  }
  // A flush that reaches the storage, and its answer.
  int Flush(int result, FakeSession* session = nullptr) {
    auto request = Start(Op::kFlush, 0, 0, session);
    if (!request->completed()) engine_.End(result);
    return server_.Finish(request.get());
  }

  // The client says SESS_INFO, as at the start of each of its lives.
  void BeginAnew() {
    auto hello = server_.Start(session_, Direction::kRead,
                               wire::EncodeSessInfo({}), wire::SessInfo::kSize);
    ASSERT_EQ(server_.Finish(hello.get()), 0);
  }

  const Capabilities announced_{Capabilities::kWriteVerifier};
  HeldEngine engine_;
  ServerFixture server_;
  FakeSession* session_ = nullptr;
  uint32_t id_ = 0;
};

TEST_F(FlushTest, FlushIsASyncOfTheFile) {
  auto request = Start(Op::kFlush, 0, 0);
  ASSERT_EQ(engine_.held.size(), 1u);
  EXPECT_EQ(engine_.held.front()->kind, Kind::kSync);
  EXPECT_FALSE(request->completed());
  engine_.End(0);
  EXPECT_EQ(server_.Finish(request.get()), 0);
}

TEST_F(FlushTest, FuaIsADurableWriteAndNoSyncMore) {
  auto request = Start(Op::kWrite, 4096, Io::kFua);
  ASSERT_EQ(engine_.held.size(), 1u);
  EXPECT_EQ(engine_.held.front()->kind, Kind::kWrite);
  EXPECT_TRUE(engine_.held.front()->dsync);
  engine_.End(0);
  EXPECT_EQ(server_.Finish(request.get()), 0);
}

TEST_F(FlushTest, PreflushComesBeforeTheWrite) {
  auto request = Start(Op::kWrite, 4096, Io::kPreflush);
  ASSERT_EQ(engine_.held.size(), 1u);
  EXPECT_EQ(engine_.held.front()->kind, Kind::kSync);
  engine_.End(0);
  ASSERT_EQ(engine_.held.size(), 1u);
  EXPECT_EQ(engine_.held.front()->kind, Kind::kWrite);
  EXPECT_FALSE(engine_.held.front()->dsync);
  engine_.End(0);
  EXPECT_EQ(server_.Finish(request.get()), 0);
}

TEST_F(FlushTest, FailedPreflushStopsTheWrite) {
  auto request = Start(Op::kWrite, 4096, Io::kPreflush);
  engine_.End(EIO);
  EXPECT_EQ(server_.Finish(request.get()), EIO);
  EXPECT_TRUE(engine_.held.empty());
}

TEST_F(FlushTest, DurableWriteZeroesSyncsAfterwards) {
  auto request = Start(Op::kWriteZeroes, 4096, Io::kFua);
  ASSERT_EQ(engine_.held.size(), 1u);
  EXPECT_EQ(engine_.held.front()->kind, Kind::kZero);
  engine_.End(0);
  ASSERT_EQ(engine_.held.size(), 1u);
  EXPECT_EQ(engine_.held.front()->kind, Kind::kSync);
  engine_.End(0);
  EXPECT_EQ(server_.Finish(request.get()), 0);
}

TEST_F(FlushTest, EmptyWriteWithFuaIsASync) {
  auto request = Start(Op::kWrite, 0, Io::kFua);
  ASSERT_EQ(engine_.held.size(), 1u);
  EXPECT_EQ(engine_.held.front()->kind, Kind::kSync);
  engine_.End(0);
  EXPECT_EQ(server_.Finish(request.get()), 0);
}

TEST_F(FlushTest, FailedFlushIsReportedToEveryLaterFlush) {
  EXPECT_EQ(Flush(EIO), EIO);
  // The kernel would say that all is well now.
  EXPECT_EQ(Flush(0), EIO);
  EXPECT_EQ(Flush(0), EIO);
  auto empty = Start(Op::kWrite, 0, Io::kPreflush);
  EXPECT_EQ(server_.Finish(empty.get()), EIO);
}

TEST_F(FlushTest, FailedFlushFailsLaterDurableWrites) {
  EXPECT_EQ(Flush(EIO), EIO);
  auto request = Start(Op::kWrite, 4096, Io::kFua);
  engine_.End(0);
  EXPECT_EQ(server_.Finish(request.get()), EIO);
}

TEST_F(FlushTest, FailedFlushLetsOrdinaryRequestsThrough) {
  EXPECT_EQ(Flush(ENOSPC), ENOSPC);
  auto write = Start(Op::kWrite, 4096, 0);
  engine_.End(0);
  EXPECT_EQ(server_.Finish(write.get()), 0);
  auto read = Start(Op::kRead, 4096, 0);
  engine_.End(0);
  EXPECT_EQ(server_.Finish(read.get()), 0);
}

TEST_F(FlushTest, FailedDurableWriteFailsLaterFlushes) {
  auto request = Start(Op::kWrite, 4096, Io::kFua);
  engine_.End(EIO);
  EXPECT_EQ(server_.Finish(request.get()), EIO);
  EXPECT_EQ(Flush(0), EIO);
}

TEST_F(FlushTest, FailedOrdinaryWriteDoesNot) {
  auto request = Start(Op::kWrite, 4096, 0);
  engine_.End(EIO);
  EXPECT_EQ(server_.Finish(request.get()), EIO);
  EXPECT_EQ(Flush(0), 0);
}

TEST_F(FlushTest, FlushBesideAFailingOneFailsToo) {
  auto first = Start(Op::kFlush, 0, 0);
  auto second = Start(Op::kFlush, 0, 0);
  engine_.End(EIO);
  engine_.End(0);
  EXPECT_EQ(server_.Finish(first.get()), EIO);
  EXPECT_EQ(server_.Finish(second.get()), EIO);
}

TEST_F(FlushTest, FailureIsForAllSessionsThatHaveTheDeviceOpen) {
  FakeSession* reader = server_.Connect("reader");
  ASSERT_EQ(server_.Open(reader, "disk", AccessMode::kRo), 0);
  EXPECT_EQ(Flush(EIO), EIO);
  EXPECT_EQ(Flush(0, reader), EIO);
}

TEST_F(FlushTest, OpeningAgainForgivesAndChangesTheVerifier) {
  wire::OpenRsp before;
  ASSERT_EQ(server_.Open(session_, "disk", AccessMode::kRw, &before), 0);
  EXPECT_EQ(Flush(EIO), EIO);
  ASSERT_EQ(server_.Close(session_, id_), 0);
  wire::OpenRsp after;
  ASSERT_EQ(server_.Open(session_, "disk", AccessMode::kRw, &after), 0);
  EXPECT_NE(before.write_verifier, after.write_verifier);
  EXPECT_EQ(Flush(0), 0);
}

// As after a session was lost and came back before the server noticed.
TEST_F(FlushTest, OpenUnderTheSameNameForgivesWhoIsToldByTheVerifier) {
  wire::OpenRsp before;
  ASSERT_EQ(server_.Open(session_, "disk", AccessMode::kRw, &before), 0);
  EXPECT_EQ(Flush(EIO), EIO);
  EXPECT_EQ(Flush(0), EIO);
  BeginAnew();
  wire::OpenRsp after;
  ASSERT_EQ(server_.Open(session_, "disk", AccessMode::kRw, &after), 0);
  EXPECT_NE(before.write_verifier, after.write_verifier);
  EXPECT_EQ(Flush(0), 0);
}

// It asks for the size, and may have sent a flush before it has the answer.
TEST_F(FlushTest, OpenInTheSameLifeDoesNotForgive) {
  EXPECT_EQ(Flush(EIO), EIO);
  ASSERT_EQ(server_.Open(session_, "disk", AccessMode::kRw), 0);
  EXPECT_EQ(Flush(0), EIO);
  BeginAnew();
  ASSERT_EQ(server_.Open(session_, "disk", AccessMode::kRw), 0);
  EXPECT_EQ(Flush(0), 0);
  EXPECT_EQ(Flush(EIO), EIO);
  ASSERT_EQ(server_.Open(session_, "disk", AccessMode::kRw), 0);
  EXPECT_EQ(Flush(0), EIO);
}

TEST_F(FlushTest, OpenUnderTheSameNameDoesNotForgiveWhoHasNoVerifier) {
  FakeSession* kernel = server_.Connect("kernel");
  ASSERT_EQ(server_.Open(kernel, "disk", AccessMode::kRo), 0);
  EXPECT_EQ(Flush(EIO), EIO);
  ASSERT_EQ(server_.Open(kernel, "disk", AccessMode::kRo), 0);
  EXPECT_EQ(Flush(0, kernel), EIO);
}

TEST_F(FlushTest, StorageErrorsAreTranslated) {
  const std::pair<int, int> cases[] = {
      {ENOSPC, ENOSPC},   {EDQUOT, ENOSPC}, {EFBIG, EIO},
      {ENOMEM, ENOMEM},   {EBADF, EIO},     {ETIMEDOUT, ETIMEDOUT},
      {ENODATA, ENODATA}, {EAGAIN, EIO},    {EOPNOTSUPP, EOPNOTSUPP},
      {ENODEV, ENODEV},   {EPERM, EIO},     {ENOLINK, ENOLINK}};
  for (const auto& [storage, answer] : cases) {
    auto request = Start(Op::kWrite, 4096, 0);
    engine_.End(storage);
    EXPECT_EQ(server_.Finish(request.get()), answer) << storage;
  }
}

TEST_F(FlushTest, CloseWaitsForRequestsInFlight) {
  auto write = Start(Op::kWrite, 4096, 0);
  wire::Close message;
  message.device_id = id_;
  auto close =
      server_.Start(session_, Direction::kWrite, wire::Encode(message), 0);
  while (server_.worker().Progress()) {
  }
  EXPECT_FALSE(close->completed());
  // It takes no more requests already.
  auto late = Start(Op::kRead, 4096, 0);
  EXPECT_EQ(server_.Finish(late.get()), ENOTCONN);
  engine_.End(0);
  EXPECT_EQ(server_.Finish(write.get()), 0);
  EXPECT_EQ(server_.Finish(close.get()), 0);
  EXPECT_EQ(engine_.files_forgotten, 1);
}

TEST_F(FlushTest, OpenBehindAWaitingCloseWaitsToo) {
  auto write = Start(Op::kWrite, 4096, 0);
  wire::Close message;
  message.device_id = id_;
  auto close =
      server_.Start(session_, Direction::kWrite, wire::Encode(message), 0);
  wire::Open again;
  again.device_name = "disk";
  auto open =
      server_.Start(session_, Direction::kRead, wire::Encode(again), 56);
  while (server_.worker().Progress()) {
  }
  EXPECT_FALSE(open->completed());
  engine_.End(0);
  EXPECT_EQ(server_.Finish(close.get()), 0);
  EXPECT_EQ(server_.Finish(open.get()), 0);
  EXPECT_EQ(server_.Finish(write.get()), 0);
}

TEST_F(FlushTest, PriorityIsPassedOn) {
  Io io;
  io.device_id = id_;
  io.length = 4096;
  io.priority = 0x4004;
  auto request = server_.StartIo(session_, io, Direction::kRead, 4096);
  ASSERT_EQ(engine_.held.size(), 1u);
  EXPECT_EQ(engine_.held.front()->priority, 0x4004);
  engine_.End(0);
  EXPECT_EQ(server_.Finish(request.get()), 0);
}

TEST_F(FlushTest, PriorityOfOldClientsIsNot) {
  wire::SessInfo info;
  info.version = 1;
  auto hello =
      server_.Start(session_, Direction::kRead, wire::EncodeSessInfo(info), 36);
  ASSERT_EQ(server_.Finish(hello.get()), 0);
  Io io;
  io.device_id = id_;
  io.length = 4096;
  io.priority = 0x4004;
  auto request = server_.StartIo(session_, io, Direction::kRead, 4096);
  EXPECT_EQ(engine_.held.front()->priority, 0);
  engine_.End(0);
  EXPECT_EQ(server_.Finish(request.get()), 0);
}

}  // namespace
}  // namespace rnbd::server
