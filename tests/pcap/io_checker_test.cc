// What the checker says of requests and responses that do not fit.
#include <errno.h>

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/pcap/checker.h"
#include "tests/pcap/requests.h"

namespace rtrs::pcap {
namespace {

using ::rnbd::wire::Io;
using ::testing::HasSubstr;

// Requests.

TEST(RequestProblemTest, OtherRkey) {
  Conversation c(true);
  c.Open();
  c.Io(2, kWrite);
  c.Respond(1, 2);
  c.Write(1, Sender::kClient, Conversation::kChunks, Conversation::kRkey,
          kData);
  c.Immediate(1, Sender::kClient, 0x1000);
  EXPECT_THAT(c.Problems(), HasSubstr("with rkey 0x77, it has"));
}

TEST(RequestProblemTest, ChunkInUse) {
  Conversation c;
  c.Open();
  c.Io(2, kWrite);
  c.Io(2, kWrite);
  EXPECT_THAT(c.Problems(), HasSubstr("used again before the response"));
}

TEST(RequestProblemTest, ReadHeaderAtTheStartOfTheChunk) {
  Conversation c;
  c.Open();
  uint8_t user[Io::kSize];
  EncodeIo(kRead, user);
  std::vector<uint8_t> bytes(4096);
  bytes.insert(bytes.end(), user, user + sizeof(user));
  uint8_t rtrs[wire::IoHeader::kMaxSize];
  const wire::IoHeader header{wire::RtrsType::kRead, 32, false, true,
                              Conversation::kBuffer};
  bytes.insert(bytes.end(), rtrs, rtrs + EncodeIoHeader(header, rtrs));
  c.Write(1, Sender::kClient, Conversation::kChunks, Conversation::kRkey,
          bytes);
  c.Immediate(1, Sender::kClient, 4096 + 32);
  EXPECT_THAT(c.Problems(), HasSubstr("chunk written from 0 to 4152"));
}

TEST(RequestProblemTest, UserMessageLongerThanItsOffset) {
  Conversation c;
  c.Open();
  uint8_t rtrs[wire::IoHeader::kMaxSize];
  const wire::IoHeader header{wire::RtrsType::kWrite, 33, false, false, {}};
  std::vector<uint8_t> bytes(32);
  bytes.insert(bytes.end(), rtrs, rtrs + EncodeIoHeader(header, rtrs));
  c.Write(1, Sender::kClient, Conversation::kChunks, Conversation::kRkey,
          bytes);
  c.Immediate(1, Sender::kClient, 32);
  EXPECT_THAT(c.Problems(), HasSubstr("in front of offset"));
}

TEST(RequestProblemTest, WriteBeyondItsChunk) {
  Conversation c;
  c.Open();
  c.Write(1, Sender::kClient, Conversation::kChunks, Conversation::kRkey,
          std::vector<uint8_t>(Conversation::kChunkSize + 1));
  c.Immediate(1, Sender::kClient, 32);
  EXPECT_THAT(c.Problems(), HasSubstr("is not within chunk 0"));
}

TEST(RequestProblemTest, ImmediateWithoutItsWrite) {
  Conversation c;
  c.Open();
  c.Immediate(1, Sender::kClient, 32);
  EXPECT_THAT(c.Problems(), HasSubstr("without its RDMA write"));
}

TEST(RequestProblemTest, UnknownImmediate) {
  Conversation c;
  c.Open();
  c.Immediate(1, Sender::kClient, 0x70000000);
  EXPECT_THAT(c.Problems(), HasSubstr("immediate 0x70000000 of a client"));
}

TEST(RequestProblemTest, IoOnTheServiceConnection) {
  Conversation c;
  c.Open();
  uint8_t user[Io::kSize];
  EncodeIo(kFlush, user);
  c.Request(0, 0, 0, user, {wire::RtrsType::kRead, 32, false, false, {}});
  EXPECT_THAT(c.Problems(), HasSubstr("flush on the service connection"));
}

TEST(RequestProblemTest, FlushAsWrite) {
  Conversation c;
  c.Open();
  uint8_t user[Io::kSize];
  EncodeIo(kFlush, user);
  c.Request(1, 0, 0, user, {wire::RtrsType::kWrite, 32, false, false, {}});
  EXPECT_THAT(c.Problems(), HasSubstr("flush as RTRS WRITE, must be READ"));
}

TEST(RequestProblemTest, CountThatIsNotTheData) {
  Conversation c;
  c.Open();
  Io io = kWrite;
  io.length = 512;
  uint8_t user[Io::kSize];
  EncodeIo(io, user);
  c.Request(1, 0, 4096, user, {wire::RtrsType::kWrite, 32, false, false, {}});
  EXPECT_THAT(c.Problems(), HasSubstr("data_len 4096, must be 32 and 512"));
}

TEST(RequestProblemTest, DeviceThatIsNotOpen) {
  Conversation c;
  c.Open();
  Io io = kFlush;
  io.device_id = 9;
  c.Io(0, io);
  EXPECT_THAT(c.Problems(), HasSubstr("device 9, not open"));
}

TEST(RequestProblemTest, OpenBeforeSessInfo) {
  Conversation c;
  c.Exchange();
  c.Request(
      0, 1, 56,
      rnbd::wire::Encode(rnbd::wire::Open{rnbd::wire::AccessMode::kRw, "disk"}),
      {wire::RtrsType::kRead, 264, false, true, {1, 2, 56}});
  EXPECT_THAT(c.Problems(), HasSubstr("OPEN before SESS_INFO"));
}

TEST(RequestProblemTest, DescriptorThatIsNotTheData) {
  Conversation c;
  c.Open();
  uint8_t user[Io::kSize];
  EncodeIo(kRead, user);
  c.Request(1, 0, 4096, user,
            {wire::RtrsType::kRead, 32, false, true, {1, 2, 8192}});
  EXPECT_THAT(c.Problems(), HasSubstr("with a descriptor of 8192"));
}

// Responses.

TEST(ResponseProblemTest, ChunkNotInUse) {
  Conversation c;
  c.Open();
  c.Respond(1, 3);
  EXPECT_THAT(c.Problems(), HasSubstr("chunk 3, which is not in use"));
}

TEST(ResponseProblemTest, OnAnotherConnection) {
  Conversation c;
  c.Open();
  c.Io(0, kFlush);
  c.Respond(0, 0);
  EXPECT_THAT(c.Problems(), HasSubstr("to a request of cid 1"));
}

TEST(ResponseProblemTest, ReadWithoutItsData) {
  Conversation c;
  c.Open();
  c.Io(0, kRead);
  c.Respond(1, 0);
  EXPECT_THAT(c.Problems(), HasSubstr("without its data"));
}

TEST(ResponseProblemTest, DataOfAnotherLength) {
  Conversation c;
  c.Open();
  c.Io(0, kRead);
  c.Write(1, Sender::kServer, Conversation::kBuffer.address,
          Conversation::kBuffer.rkey, std::vector<uint8_t>(512));
  c.Respond(1, 0);
  EXPECT_THAT(c.Problems(), HasSubstr("512 bytes written"));
}

TEST(ResponseProblemTest, DataThatNobodyAskedFor) {
  Conversation c;
  c.Open();
  c.Write(1, Sender::kServer, 0x1234, 0x99, kData);
  EXPECT_THAT(c.Problems(), HasSubstr("RDMA write to 0x1234"));
}

TEST(ResponseProblemTest, MissingInvalidation) {
  Conversation c;
  c.Open();
  c.Io(0, kRead, true);
  AnswerRead(&c, 0);
  EXPECT_THAT(c.Problems(), HasSubstr("without the invalidation asked for"));
}

TEST(ResponseProblemTest, InvalidationThatNobodyAskedFor) {
  Conversation c;
  c.Open();
  c.Io(0, kRead);
  c.SendInvalidate(1, Conversation::kBuffer.rkey);
  EXPECT_THAT(c.Problems(), HasSubstr("rkey 0x99 invalidated"));
}

TEST(ResponseProblemTest, EmptyWriteAlthoughNewRkeyIsOn) {
  Conversation c(true);
  c.Open();
  c.Io(0, kFlush);
  c.Immediate(1, Sender::kServer, wire::EncodeIoResponseImm({0, 0, false}));
  EXPECT_THAT(c.Problems(), HasSubstr("without RKEY_RSP"));
}

TEST(ResponseProblemTest, OpenRspWithStaleBytes) {
  Conversation c;
  c.open_rsp.write_verifier = 7;  // to a client that did not ask
  c.Open();
  EXPECT_THAT(c.Problems(), HasSubstr("OPEN_RSP with reserved bytes"));
}

TEST(ResponseProblemTest, OpenRspWithoutBlockSize) {
  Conversation c;
  c.open_rsp.logical_block_size = 0;
  c.Open();
  EXPECT_THAT(c.Problems(), HasSubstr("logical block size of 0"));
}

}  // namespace
}  // namespace rtrs::pcap
