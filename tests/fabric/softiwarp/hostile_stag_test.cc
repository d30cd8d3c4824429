// The rows of spec/iwarp.md §6.3 about STags: writes and invalidations that
// must not be.
#include "tests/fabric/softiwarp/hostile_fixture.h"

namespace rtrs::fabric::softiwarp {
namespace {

using HostileStagTest = HostileTest;

INSTANTIATE_TEST_SUITE_P(Crc, HostileStagTest, ::testing::Bool());

TEST_P(HostileStagTest, UnknownStag) {
  FpduHeader header = Write();
  header.stag ^= 0x00010000;
  ExpectTerminate(Frame(header, {1, 2, 3, 4}), kTaggedInvalidStag);
}

TEST_P(HostileStagTest, StagWithoutRemoteWrite) {
  auto local = server_->Register(&memory_bytes_, kLocalWrite);
  FpduHeader header = Write();
  header.stag = local->rkey();
  ExpectTerminate(Frame(header, {1, 2, 3, 4}), kTaggedInvalidStag);
  EXPECT_TRUE(Untouched());
}

TEST_P(HostileStagTest, DeregisteredStag) {
  const FpduHeader header = Write();
  mr_.reset();
  ExpectTerminate(Frame(header, {1, 2, 3, 4}), kTaggedInvalidStag);
  EXPECT_TRUE(Untouched());
}

TEST_P(HostileStagTest, StagOfAnotherDomain) {
  auto foreign = client_->Register(&memory_bytes_);
  FpduHeader header = Write();
  header.stag = foreign->rkey();
  ExpectTerminate(Frame(header, {1, 2, 3, 4}), kTaggedForeignStag);
  EXPECT_TRUE(Untouched());
}

TEST_P(HostileStagTest, WriteBeyondTheRegion) {
  ExpectTerminate(Frame(Write(4093), {1, 2, 3, 4}), kTaggedBounds);
  EXPECT_TRUE(Untouched());
}

TEST_P(HostileStagTest, WriteBeforeTheRegion) {
  FpduHeader header = Write(0);
  --header.offset;
  ExpectTerminate(Frame(header, {1, 2, 3, 4}), kTaggedBounds);
}

TEST_P(HostileStagTest, WriteThatWraps) {
  FpduHeader header = Write();
  header.offset = 0xfffffffffffffffe;
  ExpectTerminate(Frame(header, {1, 2, 3, 4}), kTaggedOffsetWrap);
}

TEST_P(HostileStagTest, EmptyWriteMayNameAnything) {
  FpduHeader header = Write();
  header.stag = 0xdeadbeef;
  header.offset = ~uint64_t{0};
  ExpectFine(Frame(header, {}));
}

TEST_P(HostileStagTest, SegmentsOfOneWriteMayJump) {
  FpduHeader first = Write(2048);
  first.last = false;
  ExpectFine(Frame(first, {1, 2, 3, 4}) + Frame(Write(1024), {5, 6, 7, 8}));
  EXPECT_EQ(memory_bytes_[2048], 1);
  EXPECT_EQ(memory_bytes_[1024], 5);
}

TEST_P(HostileStagTest, EndlessEmptySegments) {
  for (const FpduHeader& kind : {Write(), Send()}) {
    FpduHeader header = kind;
    header.last = false;
    const Bytes frame = Frame(header, {});
    Bytes run;
    for (int i = 0; i < 16; ++i) run = run + frame;
    ExpectFine(run);
    ExpectTerminate(frame, kRdmapUnspecified);
    server_->events.clear();
    SetUp();
  }
}

TEST_P(HostileStagTest, InvalidationOfWhatMustNotBe) {
  FpduHeader header = Send();
  header.opcode = Opcode::kSendInvalidate;
  auto local = server_->Register(&memory_bytes_, kLocalWrite);
  auto foreign = client_->Register(&memory_bytes_);
  const std::pair<uint32_t, TerminateCode> cases[] = {
      {mr_->rkey() ^ 0x00010000, kInvalidateUnknownStag},
      {foreign->rkey(), kInvalidateForeignStag},
      {local->rkey(), kInvalidateRefused}};
  for (const auto& [stag, code] : cases) {
    header.invalidate_stag = stag;
    ExpectTerminate(Frame(header, {}), code);
    EXPECT_EQ(Successes(), 0U);
    server_->events.clear();
    server_qp_.reset();
    server_->completions.clear();
    EstablishRaw(crc());
    const RecvWr recv = {0, nullptr, 0, 0};
    ASSERT_TRUE(server_qp_->PostRecv({&recv, 1}).ok());
  }
}

}  // namespace
}  // namespace rtrs::fabric::softiwarp
