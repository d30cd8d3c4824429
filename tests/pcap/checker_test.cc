// The checker finds nothing in a conversation that fits, and the one thing
// that does not where a step was changed.
#include "tests/pcap/checker.h"

#include <errno.h>

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/pcap/requests.h"

namespace rtrs::pcap {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::StrEq;

TEST(CheckerTest, WholeConversationFits) {
  Conversation c;
  c.Open();
  c.Io(0, kRead);
  AnswerRead(&c, 0);
  c.Io(1, kWrite);
  c.Io(2, kFlush);
  c.Io(3, kDiscard);
  c.Respond(1, 3, EOPNOTSUPP);
  c.Respond(1, 1);
  c.Respond(1, 2);
  c.Immediate(0, Sender::kClient, wire::kHeartbeatImm);
  c.Immediate(0, Sender::kServer, wire::kHeartbeatAckImm);
  c.Disconnect(0);
  EXPECT_THAT(c.Problems(), StrEq(""));
  EXPECT_EQ(c.summary(0).session_name, "clt");
  EXPECT_EQ(c.summary(0).requests.at("OPEN"), 1);
  EXPECT_EQ(c.summary(0).heartbeats, 1);
  EXPECT_EQ(c.summary(0).state, "closed");
  EXPECT_EQ(c.summary(1).requests.at("flush"), 1);
  EXPECT_EQ(c.summary(1).responses, 4);
  EXPECT_EQ(c.summary(1).errors, 1);
}

TEST(CheckerTest, NewRkeysFit) {
  Conversation c(true);
  c.Open();
  for (int i = 0; i < 3; ++i) {
    c.Io(0, kRead);
    AnswerRead(&c, 0);
  }
  EXPECT_THAT(c.Problems(), StrEq(""));
}

TEST(CheckerTest, InvalidationFits) {
  Conversation c;
  c.Open();
  c.Io(0, kRead, true);
  c.Write(1, Sender::kServer, Conversation::kBuffer.address,
          Conversation::kBuffer.rkey, kData);
  c.SendInvalidate(1, Conversation::kBuffer.rkey);
  c.Respond(1, 0, 0, true);
  EXPECT_THAT(c.Problems(), StrEq(""));
}

TEST(CheckerTest, UnansweredRequestsAreCounted) {
  Conversation c;
  c.Open();
  c.Io(0, kRead);
  c.Disconnect(1);
  EXPECT_THAT(c.Problems(), StrEq(""));
  EXPECT_EQ(c.summary(1).unanswered, 1);
}

TEST(CheckerTest, CapabilitiesOfBothEndsFit) {
  Conversation c;
  c.request.capabilities.bits = wire::Capabilities::kWriteVerifier;
  c.response.capabilities.bits = wire::Capabilities::kWriteVerifier;
  c.open_rsp.write_verifier = 7;
  c.Open();
  EXPECT_THAT(c.Problems(), StrEq(""));
}

TEST(CheckerTest, ReconnectFits) {
  Conversation c;
  c.Open();
  c.Disconnect(0);
  ++c.request.recon_cnt;
  c.Open();
  EXPECT_THAT(c.Problems(), StrEq(""));
}

// Set-up.

TEST(ConnectProblemTest, ForeignMagic) {
  Conversation c;
  auto bytes = Encode(c.request);
  bytes[2] = 0;
  c.checker().OnRequest(1, {}, bytes);
  EXPECT_THAT(c.Problems(), HasSubstr("magic"));
}

TEST(ConnectProblemTest, ReservedBytes) {
  Conversation c;
  auto bytes = Encode(c.request);
  bytes[55] = 1;
  c.checker().OnRequest(1, {}, bytes);
  EXPECT_THAT(c.Problems(), HasSubstr("reserved"));
}

TEST(ConnectProblemTest, Cid1BeforeCid0) {
  Conversation c;
  c.SendRequest(1);
  EXPECT_THAT(c.Problems(), HasSubstr("cid 1 before cid 0"));
}

TEST(ConnectProblemTest, Cid1BeforeCid0IsAccepted) {
  Conversation c;
  c.SendRequest(0);
  c.SendRequest(1);
  EXPECT_THAT(c.Problems(), HasSubstr("before cid 0 was accepted"));
}

TEST(ConnectProblemTest, ReconnectWithTheSameCounter) {
  Conversation c;
  c.Connect();
  c.SendRequest(0);
  EXPECT_THAT(c.Problems(), HasSubstr("recon_cnt"));
}

TEST(ConnectProblemTest, CapabilitiesOnlyOfTheServer) {
  Conversation c;
  c.response.capabilities.bits = wire::Capabilities::kFence;
  c.Connect();
  EXPECT_THAT(c.Problems(), HasSubstr("capabilities announced"));
}

TEST(ConnectProblemTest, LimitsThatAnImmediateCannotCarry) {
  Conversation c;
  c.response.queue_depth = 65535;
  c.response.max_io_size = 1 << 20;
  c.SendRequest(0);
  c.checker().OnAccept(2, c.id(0), Encode(c.response));
  EXPECT_THAT(c.Problems(), HasSubstr("cannot carry"));
}

TEST(ConnectProblemTest, AcceptsThatDiffer) {
  Conversation c;
  c.SendRequest(0);
  c.checker().OnAccept(2, c.id(0), Encode(c.response));
  c.SendRequest(1);
  ++c.response.max_io_size;
  --c.response.max_hdr_size;
  c.checker().OnAccept(4, c.id(1), Encode(c.response));
  EXPECT_THAT(c.Problems(), HasSubstr("other values than that of cid 0"));
}

TEST(ConnectProblemTest, RejectWithoutErrno) {
  Conversation c;
  c.SendRequest(0);
  c.checker().OnReject(2, c.id(0), true, "", Encode(wire::ConnectResponse{}));
  EXPECT_THAT(c.Problems(), HasSubstr("rejected with errno 0"));
}

TEST(ConnectProblemTest, RejectWithErrnoFits) {
  Conversation c;
  c.SendRequest(0);
  wire::ConnectResponse response;
  response.error = ENXIO;
  c.checker().OnReject(2, c.id(0), true, "", Encode(response));
  EXPECT_THAT(c.Problems(), StrEq(""));
  EXPECT_EQ(c.summary(0).state, "rejected with errno 6");
}

TEST(InfoProblemTest, InfoRequestBeforeAllConnections) {
  Conversation c;
  c.SendRequest(0);
  c.checker().OnAccept(2, c.id(0), Encode(c.response));
  c.Send(0, Sender::kClient, Encode(c.info_request));
  EXPECT_THAT(c.Problems(), HasSubstr("before every connection was accepted"));
}

TEST(InfoProblemTest, InfoRequestOnCid1) {
  Conversation c;
  c.Connect();
  c.Send(1, Sender::kClient, Encode(c.info_request));
  EXPECT_THAT(c.Problems(), HasSubstr("not a SEND with INFO_REQ on cid 0"));
}

TEST(InfoProblemTest, InfoRequestTwice) {
  Conversation c;
  c.Exchange();
  c.Send(0, Sender::kClient, Encode(c.info_request));
  EXPECT_THAT(c.Problems(), HasSubstr("behind its INFO_REQ"));
}

TEST(InfoProblemTest, RegionsThatAreNotAllChunks) {
  Conversation c;
  c.info_response.descriptors[0].length -= Conversation::kChunkSize;
  c.Exchange();
  EXPECT_THAT(c.Problems(), HasSubstr("describes 3 chunks"));
}

// Heartbeats.

TEST(HeartbeatProblemTest, OutsideOfCid0) {
  Conversation c;
  c.Open();
  c.Immediate(1, Sender::kServer, wire::kHeartbeatImm);
  EXPECT_THAT(c.Problems(), StartsWith("heartbeat outside of cid 0"));
}

TEST(HeartbeatProblemTest, AckOfNothing) {
  Conversation c;
  c.Open();
  c.Immediate(0, Sender::kClient, wire::kHeartbeatAckImm);
  EXPECT_THAT(c.Problems(), HasSubstr("acknowledged that was not sent"));
}

TEST(HeartbeatProblemTest, BeforeInfoRsp) {
  Conversation c;
  c.Connect();
  c.Immediate(0, Sender::kClient, wire::kHeartbeatImm);
  EXPECT_THAT(c.Problems(), HasSubstr("first message is not"));
}

// Notices.

constexpr uint32_t kNotice0 = 0xc0000000;
constexpr uint32_t kNotice0Ack = 0xd0000000;

class NoticeTest : public testing::Test {
 protected:
  explicit NoticeTest(uint32_t server = wire::Capabilities::kNotice) {
    c_.request.capabilities.bits = wire::Capabilities::kNotice;
    c_.response.capabilities.bits = server;
    c_.Open();
  }
  Conversation c_;
};

TEST_F(NoticeTest, OneAfterTheOtherFits) {
  for (int i = 0; i < 3; ++i) {
    c_.Immediate(0, Sender::kServer, kNotice0);
    c_.Immediate(0, Sender::kClient, kNotice0Ack);
  }
  EXPECT_THAT(c_.Problems(), StrEq(""));
  EXPECT_EQ(c_.summary(0).notices, 3);
}

TEST_F(NoticeTest, OutsideOfCid0) {
  c_.Immediate(1, Sender::kServer, kNotice0);
  EXPECT_THAT(c_.Problems(), StartsWith("notice outside of cid 0"));
}

TEST_F(NoticeTest, BeforeTheLastWasAcknowledged) {
  c_.Immediate(0, Sender::kServer, kNotice0);
  c_.Immediate(0, Sender::kServer, kNotice0);
  EXPECT_THAT(c_.Problems(), HasSubstr("before the last one was ack"));
}

TEST_F(NoticeTest, AckOfAnotherOne) {
  c_.Immediate(0, Sender::kServer, kNotice0);
  c_.Immediate(0, Sender::kClient, kNotice0Ack + 1);
  EXPECT_THAT(c_.Problems(), HasSubstr("acknowledged that was not sent"));
}

TEST_F(NoticeTest, OfTheClient) {
  c_.Immediate(0, Sender::kClient, kNotice0);
  EXPECT_THAT(c_.Problems(), HasSubstr("immediate 0xc0000000 of a client"));
}

TEST_F(NoticeTest, OfADeviceThatWasNeverOpen) {
  c_.Immediate(0, Sender::kServer, kNotice0 + 7);
  EXPECT_THAT(c_.Problems(), HasSubstr("notice of device 7, never open"));
}

class UnannouncedNoticeTest : public NoticeTest {
 protected:
  UnannouncedNoticeTest() : NoticeTest(0) {}
};

TEST_F(UnannouncedNoticeTest, IsAProblem) {
  c_.Immediate(0, Sender::kServer, kNotice0);
  EXPECT_THAT(c_.Problems(), HasSubstr("not announced by both ends"));
}

}  // namespace
}  // namespace rtrs::pcap
