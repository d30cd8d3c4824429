// Malformed and hostile input: the server answers EINVAL or closes the path,
// and other sessions do not notice. One test per kind.
#include <errno.h>
#include <gtest/gtest.h>

#include "rtrs/wire/coding.h"
#include "tests/rtrs_server/harness.h"

namespace rtrs::server {
namespace {

class HostileTest : public ServerTest {
 protected:
  void SetUp() override {
    Start();
    bystander_ = Connected("bystander");
    client_ = Connected("hostile");
  }
  void TearDown() override {
    Settle();
    ExpectServes(bystander_.get());
    EXPECT_FALSE(bystander_->disconnected(0));
  }
  // The path of `client` closes, all of it, and nothing reached the layer
  // above.
  void ExpectClosed(RawClient* client) {
    EXPECT_TRUE(client->WaitDisconnected(0));
    EXPECT_TRUE(client->WaitDisconnected(1));
    Settle();
    EXPECT_EQ(server->stats().sessions, 1u);
    EXPECT_EQ(server->stats().connections, 2u);
    EXPECT_EQ(handler.requests, 0);
    EXPECT_GE(server->stats().protocol_errors, 1u);
  }
  void ExpectClosed() { ExpectClosed(client_.get()); }
  // As ExpectClosed, while client_ is up as well.
  void ExpectClosedAmong(RawClient* client) {
    EXPECT_TRUE(client->WaitDisconnected(0));
    EXPECT_TRUE(client->WaitDisconnected(1));
    Settle();
    EXPECT_EQ(server->stats().sessions, 2u);
    EXPECT_EQ(server->stats().connections, 4u);
    EXPECT_EQ(handler.requests, 0);
  }
  // The request is answered with EINVAL, the path lives on.
  void ExpectRefused() {
    EXPECT_EQ(client_->ReceiveError(), EINVAL);
    EXPECT_EQ(handler.requests, 0);
    EXPECT_GE(server->stats().protocol_errors, 1u);
    ExpectServes(client_.get());
  }
  static std::vector<uint8_t> ReadHeader(uint16_t usr_len, uint16_t flags,
                                         uint16_t sg_cnt, uint32_t rkey,
                                         uint32_t length) {
    std::vector<uint8_t> bytes(24);
    wire::PutLe<uint16_t>(bytes.data(), 3);
    wire::PutLe<uint16_t>(bytes.data() + 2, usr_len);
    wire::PutLe<uint16_t>(bytes.data() + 4, flags);
    wire::PutLe<uint16_t>(bytes.data() + 6, sg_cnt);
    wire::PutLe<uint64_t>(bytes.data() + 8, 0x1000);
    wire::PutLe<uint32_t>(bytes.data() + 16, rkey);
    wire::PutLe<uint32_t>(bytes.data() + 20, length);
    return bytes;
  }
  static std::vector<uint8_t> WriteHeader(uint16_t type, uint16_t usr_len) {
    std::vector<uint8_t> bytes(4);
    wire::PutLe<uint16_t>(bytes.data(), type);
    wire::PutLe<uint16_t>(bytes.data() + 2, usr_len);
    return bytes;
  }

  const std::vector<uint8_t> user_ = std::vector<uint8_t>(32, 7);
  std::unique_ptr<RawClient> bystander_;
  std::unique_ptr<RawClient> client_;
};

TEST_F(HostileTest, ReadDescriptorLongerThanAChunkIsRefused) {
  client_->SendRead(1, 0, user_, {.data_len = 64, .descriptor = 8193});
  ExpectRefused();
}

TEST_F(HostileTest, ReadDescriptorOfTheLargestLengthIsRefused) {
  client_->SendRead(1, 0, user_, {.data_len = 64, .descriptor = 0xffffffff});
  ExpectRefused();
}

TEST_F(HostileTest, ReadDescriptorOfLengthZeroIsRefused) {
  client_->SendHeader(1, 0, 64, ReadHeader(32, 0, 1, client_->rkey(), 0));
  ExpectRefused();
}

TEST_F(HostileTest, RefusedReadStillInvalidates) {
  client_->SendRead(1, 0, user_,
                    {.data_len = 64, .descriptor = 8193, .need_inval = true});
  const auto invalidation = client_->Receive();
  ASSERT_TRUE(invalidation);
  EXPECT_EQ(invalidation->wc.invalidated_rkey, client_->rkey());
  const auto completion = client_->Receive();
  ASSERT_TRUE(completion);
  EXPECT_EQ(completion->wc.imm, 0x20000000u | EINVAL << 19);
}

TEST_F(HostileTest, UserMessageLongerThanTheOffsetIsRefusedInAWrite) {
  client_->SendHeader(1, 0, 31, WriteHeader(2, 32));
  ExpectRefused();
}

TEST_F(HostileTest, UserMessageLongerThanTheOffsetIsRefusedInARead) {
  client_->SendHeader(1, 0, 31, ReadHeader(32, 0, 1, client_->rkey(), 64));
  ExpectRefused();
}

TEST_F(HostileTest, UserMessageOfTheLargestLengthIsRefused) {
  client_->SendHeader(1, 0, 0, WriteHeader(2, 0xffff));
  ExpectRefused();
}

TEST_F(HostileTest, UserMessageLongerThanAnyKnownIsRefused) {
  client_->SendHeader(1, 0, 1024, WriteHeader(2, 265));
  ExpectRefused();
}

TEST_F(HostileTest, LongestUserMessageIsServed) {
  client_->SendHeader(1, 0, 1024, WriteHeader(2, 264));
  EXPECT_EQ(client_->ReceiveError(), 0);
  EXPECT_EQ(handler.user_message.size(), 264u);
  EXPECT_EQ(handler.written.size(), 1024u - 264);
}

TEST_F(HostileTest, ReadWithTwoDescriptorsClosesThePath) {
  client_->SendHeader(1, 0, 64, ReadHeader(32, 0, 2, client_->rkey(), 64));
  ExpectClosed();
}

TEST_F(HostileTest, UnknownMessageTypesCloseThePath) {
  client_->SendHeader(1, 0, 64, WriteHeader(0, 32));
  ExpectClosed();
  auto other = Connected("other");
  other->SendHeader(1, 0, 64, WriteHeader(5, 32));
  ExpectClosed(other.get());
  auto third = Connected("third");
  third->SendHeader(1, 0, 64, WriteHeader(0xffff, 32));
  ExpectClosed(third.get());
}

TEST_F(HostileTest, WriteMessageAcrossTheChunksEndClosesThePath) {
  client_->SendHeader(1, 0, 8189, std::vector<uint8_t>{2, 0, 0});
  ExpectClosed();
}

TEST_F(HostileTest, ReadMessageAcrossTheChunksEndClosesThePath) {
  // In the next chunk the rest of the message would be found.
  client_->SendHeader(1, 0, 8192 - 8, ReadHeader(0, 0, 1, client_->rkey(), 64));
  ExpectClosed();
}

TEST_F(HostileTest, MessageAtTheVeryEndOfTheChunkIsServed) {
  client_->SendHeader(1, 7, 8188, WriteHeader(2, 32));
  EXPECT_EQ(client_->ReceiveError(), 0);
  EXPECT_EQ(handler.written.size(), 8188u - 32);
}

TEST_F(HostileTest, OffsetBeyondTheChunkClosesThePath) {
  client_->SendImm(1, wire::EncodeIoRequestImm({0, 8192}, wire::MemBits(8)));
  ExpectClosed();
}

TEST_F(HostileTest, LargestImmediateClosesThePath) {
  client_->SendImm(1, 0x0fffffff);
  ExpectClosed();
}

TEST_F(HostileTest, ChunkNumberBeyondTheQueueDepthClosesThePath) {
  // Needs a depth that is no power of two.
  ServerOptions odd = options;
  odd.sess_queue_depth = 5;
  FakeHandler above;
  auto small = Server::Create({&fabric}, &clock, Random::System(), odd, &above);
  ASSERT_TRUE(small.ok());
  auto bound = (*small)->Listen(*SocketAddress::Parse("127.0.0.1", 0));
  ASSERT_TRUE(bound.ok());
  RawClient client(&fabric, *bound, [&](fabric::EventChannel*) {
    bool busy = (*small)->worker(0)->Progress();
    busy |= (*small)->worker(1)->Progress();
    return busy;
  });
  ASSERT_TRUE(client.Establish(2, "odd"));
  client.SendImm(1, wire::EncodeIoRequestImm({5, 0}, wire::MemBits(5)));
  EXPECT_TRUE(client.WaitDisconnected());
  EXPECT_EQ(above.requests, 0);
}

TEST_F(HostileTest, ChunkInUseClosesThePath) {
  handler.hold = true;
  client_->SendWrite(1, 3, {}, user_);
  ASSERT_TRUE(client_->Wait([&] { return handler.held.size() == 1; }));
  client_->SendWrite(0, 3, {}, user_);
  EXPECT_TRUE(client_->WaitDisconnected(0));
  EXPECT_TRUE(client_->WaitDisconnected(1));
  Settle();
  EXPECT_EQ(handler.requests, 1);
  EXPECT_EQ(server->stats().sessions, 2u);  // its request still runs
  EXPECT_EQ(handler.downs.size(), 0u);
  handler.held[0]->Complete(0);
  Settle();
  EXPECT_EQ(server->stats().sessions, 1u);
  EXPECT_EQ(handler.downs, std::vector<std::string>{"hostile"});
  handler.hold = false;
}

TEST_F(HostileTest, UnknownImmediatesAreCountedAndIgnored) {
  client_->SendImm(1, 0x70000000);
  client_->SendImm(0, 0xf0000001);
  client_->SendImm(1, 0x10000000);
  Settle();
  EXPECT_EQ(server->stats().protocol_errors, 3u);
  ExpectServes(client_.get());
}

TEST_F(HostileTest, HeartbeatsOnOtherConnectionsAreIgnored) {
  client_->SendImm(1, wire::kHeartbeatImm);
  client_->SendImm(1, wire::kHeartbeatAckImm);
  Settle();
  client_->Drain();
  EXPECT_EQ(client_->received(), 0u);
  ExpectServes(client_.get());
}

TEST_F(HostileTest, RequestBeforeInfoClosesThePath) {
  auto early = Client();
  ASSERT_TRUE(early->ConnectAll(2));
  early->SendImm(1, 0x00000000);
  ExpectClosedAmong(early.get());
}

TEST_F(HostileTest, HeartbeatBeforeInfoClosesThePath) {
  auto early = Client();
  ASSERT_TRUE(early->ConnectAll(2));
  early->SendImm(0, wire::kHeartbeatImm);
  ExpectClosedAmong(early.get());
}

TEST_F(HostileTest, InfoBeforeAllConnectionsClosesThePath) {
  auto early = Client();
  early->request.cid_num = 3;
  ASSERT_TRUE(early->Connect(0).accepted);
  ASSERT_TRUE(early->Connect(1).accepted);
  EXPECT_FALSE(early->Info("early"));
  ExpectClosedAmong(early.get());
  EXPECT_EQ(handler.sessions.size(), 2u);
}

TEST_F(HostileTest, InfoTwiceClosesThePath) {
  EXPECT_FALSE(client_->Info("hostile"));
  EXPECT_TRUE(client_->WaitDisconnected(1));
}

TEST_F(HostileTest, InfoOnAnotherConnectionClosesThePath) {
  auto early = Client();
  ASSERT_TRUE(early->ConnectAll(2));
  wire::InfoRequest info;
  info.sessname = "x";
  early->Send(1, wire::Encode(info));
  ExpectClosedAmong(early.get());
}

TEST_F(HostileTest, EmptySendClosesThePath) {
  client_->Send(1, {});
  ExpectClosed();
}

TEST_F(HostileTest, MalformedInfoClosesThePath) {
  wire::InfoRequest good;
  good.sessname = "good";
  const auto encoded = wire::Encode(good);
  const std::vector<std::function<void(std::vector<uint8_t>*)>> changes = {
      [](auto* b) { b->resize(271); },                        // short
      [](auto* b) { b->resize(273); },                        // long
      [](auto* b) { b->resize(0); },                          // empty
      [](auto* b) { (*b)[0] = 1; },                           // other type
      [](auto* b) { (*b)[2] = '/'; },                         // name with /
      [](auto* b) { (*b)[3] = '.'; },                         // name with .
      [](auto* b) { (*b)[2] = 0; },                           // no name
      [](auto* b) { std::fill_n(b->begin() + 2, 255, 'a'); }  // no NUL
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    auto early = Client();
    ASSERT_TRUE(early->ConnectAll(2)) << i;
    std::vector<uint8_t> bytes(encoded.begin(), encoded.end());
    changes[i](&bytes);
    early->Send(0, bytes);
    ExpectClosedAmong(early.get());
  }
}

TEST_F(HostileTest, SessionNameInUseClosesThePath) {
  auto thief = Client();
  EXPECT_FALSE(thief->Establish(2, "bystander"));
  ExpectClosedAmong(thief.get());
}

TEST_F(HostileTest, AnotherNameOnASecondPathClosesIt) {
  auto second = Client();
  second->source = "127.0.0.2";
  second->request.paths_uuid = client_->request.paths_uuid;
  EXPECT_FALSE(second->Establish(2, "renamed"));
  EXPECT_TRUE(second->WaitDisconnected());
  ExpectServes(client_.get());
}

TEST_F(HostileTest, WriteWithTheKeyOfAnotherSessionBreaksTheConnection) {
  // The chunks of the bystander, through a queue pair of the other session.
  RawClient* thief = client_.get();
  thief->chunks() = bystander_->chunks();
  thief->SendWrite(1, 0, std::vector<uint8_t>(64, 0xEE), user_);
  EXPECT_TRUE(thief->WaitDisconnected());
  Settle();
  EXPECT_EQ(handler.sessions.size(), 1u);
  EXPECT_EQ(handler.sessions[0]->chunk_memory()[0], 0);
}

TEST_F(HostileTest, HeaderIsCopiedBeforeItIsChecked) {
  handler.hold = true;
  client_->SendRead(1, 0, user_, {.data_len = 64, .descriptor = 64});
  ASSERT_TRUE(client_->Wait([&] { return handler.held.size() == 1; }));
  Request* request = handler.held[0];
  const std::vector<uint8_t> seen(request->user_message.begin(),
                                  request->user_message.end());
  // The client changes the whole chunk while the request runs.
  Session* session = request->session;
  std::fill_n(session->chunk_memory().data(), 8192, 0xff);
  EXPECT_EQ(seen, std::vector<uint8_t>(request->user_message.begin(),
                                       request->user_message.end()));
  EXPECT_EQ(request->data.size(), 64u);
  request->Complete(0);
  const auto message = client_->Receive();
  ASSERT_TRUE(message);
  EXPECT_EQ(message->wc.byte_len, 64u);
  handler.hold = false;
}

TEST_F(HostileTest, ReadIntoMemoryThatIsNotTheirsClosesOnlyTheirPath) {
  client_->SendHeader(1, 0, 64, ReadHeader(32, 0, 1, 0xdeadbeef, 64));
  EXPECT_TRUE(client_->WaitDisconnected(0));
  EXPECT_TRUE(client_->WaitDisconnected(1));
}

}  // namespace
}  // namespace rtrs::server
