// Connect requests: the checks of wire.md §1.5 in their order, and the limits.
#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rtrs/wire/coding.h"
#include "tests/rtrs_server/harness.h"

namespace rtrs::server {
namespace {

class ConnectTest : public ServerTest {
 protected:
  // The rejection of `client`'s request for cid 0 after `change`.
  int ErrorAfter(const std::function<void(std::vector<uint8_t>*)>& change) {
    auto client = Client();
    const auto encoded = wire::Encode(client->request);
    std::vector<uint8_t> bytes(encoded.begin(), encoded.end());
    change(&bytes);
    const RawClient::Reply reply = client->ConnectRaw(0, bytes);
    EXPECT_TRUE(reply.rejected);
    return reply.error;
  }
};

TEST_F(ConnectTest, AcceptsWithTheLimitsOfTheSession) {
  Start();
  auto client = Client();
  const RawClient::Reply reply = client->Connect(0);
  ASSERT_TRUE(reply.accepted);
  EXPECT_EQ(reply.response.queue_depth, 8);
  EXPECT_EQ(reply.response.max_io_size, 4096u);
  EXPECT_EQ(reply.response.max_hdr_size, 4096u);
  EXPECT_EQ(reply.response.flags, 0u);
}

TEST_F(ConnectTest, AnnouncesCapabilitiesOnlyToThoseWhoDid) {
  options.capabilities.bits = wire::Capabilities::kWriteZeroes;
  Start();
  auto kernel = Client();
  EXPECT_EQ(kernel->Connect(0).response.capabilities.bits, 0u);
  auto ours = Client();
  ours->request.capabilities.bits = wire::Capabilities::kFence;
  EXPECT_EQ(ours->Connect(0).response.capabilities.bits,
            wire::Capabilities::kWriteZeroes);
}

TEST_F(ConnectTest, RejectsShortPrivateData) {
  Start();
  EXPECT_EQ(ErrorAfter([](auto* bytes) { bytes->resize(55); }), ECONNRESET);
}

TEST_F(ConnectTest, RejectsWrongMagic) {
  Start();
  EXPECT_EQ(ErrorAfter([](auto* bytes) { (*bytes)[2] ^= 1; }), ECONNRESET);
}

TEST_F(ConnectTest, RejectsOtherMajorVersion) {
  Start();
  EXPECT_EQ(ErrorAfter([](auto* bytes) { (*bytes)[5] = 3; }), ECONNRESET);
}

TEST_F(ConnectTest, RejectsTooManyConnections) {
  Start();
  EXPECT_EQ(ErrorAfter([](auto* bytes) {
              wire::PutLe<uint16_t>(bytes->data() + 8, 4097);
            }),
            ECONNRESET);
}

TEST_F(ConnectTest, RejectsCidBeyondCidNum) {
  Start();
  EXPECT_EQ(ErrorAfter([](auto* bytes) {
              wire::PutLe<uint16_t>(bytes->data() + 6, 1);
            }),
            ECONNRESET);
}

TEST_F(ConnectTest, RejectsNoConnectionsAtAll) {
  Start();
  EXPECT_EQ(ErrorAfter([](auto* bytes) {
              wire::PutLe<uint16_t>(bytes->data() + 8, 0);
            }),
            ECONNRESET);
}

TEST_F(ConnectTest, RejectsUnknownSessionWithoutFirstConn) {
  Start();
  auto client = Client();
  client->request.first_conn = false;
  EXPECT_EQ(client->Connect(0).error, ENXIO);
  EXPECT_EQ(server->stats().sessions, 0u);
}

TEST_F(ConnectTest, RejectsMoreOfAPathThatIsUp) {
  Start();
  auto client = Connected("a");
  auto more = Client();
  more->request = client->request;
  EXPECT_EQ(more->Connect(1).error, ECONNRESET);
  ExpectServes(client.get());
}

TEST_F(ConnectTest, ReplacesTheOldPathAtOnceWhenItComesBack) {
  Start();
  auto client = Connected("a");
  auto again = Client();
  again->request = client->request;
  EXPECT_TRUE(again->Establish(2, "a"));
  client->Drain();
  EXPECT_TRUE(client->disconnected(0));
  Settle();
  EXPECT_EQ(server->stats().paths, 1u);
  ExpectServes(again.get());
}

TEST_F(ConnectTest, ReplacesAPathWhosePeerIsSilent) {
  Start();
  auto client = Connected("a");
  fabric.deaf = true;  // the disconnect is never answered
  auto again = Client();
  again->request = client->request;
  EXPECT_TRUE(again->Establish(2, "a"));
  ExpectServes(again.get());
}

TEST_F(ConnectTest, ReplacesAHalfOpenPath) {
  Start();
  auto client = Client();
  client->request.cid_num = 3;
  ASSERT_TRUE(client->Connect(0).accepted);
  auto again = Client();
  again->request = client->request;
  EXPECT_TRUE(again->Establish(2, "a"));
  ExpectServes(again.get());
}

TEST_F(ConnectTest, ReplacesAPathThatIsClosing) {
  Start();
  auto client = Connected("a");
  fabric.deaf = true;
  handler.sessions[0]->Disconnect();
  Settle();
  EXPECT_EQ(server->stats().paths, 1u);
  auto again = Client();
  again->request = client->request;
  EXPECT_TRUE(again->Establish(2, "a"));
  ExpectServes(again.get());
}

TEST_F(ConnectTest, ReplacesAPathWhoseRequestsStillRun) {
  Start();
  handler.hold = true;
  auto client = Connected("a");
  const std::vector<uint8_t> user(8, 1);
  client->SendWrite(1, 3, {}, user);
  ASSERT_TRUE(client->Wait([&] { return handler.held.size() == 1; }));
  auto again = Client();
  again->request = client->request;
  EXPECT_TRUE(again->Establish(2, "a"));
  EXPECT_TRUE(handler.downs.empty());  // the same session
  // What is sent again waits for the first copy; other requests do not.
  again->SendWrite(1, 3, {}, user);
  again->SendWrite(1, 4, {}, user);
  Settle();
  ASSERT_EQ(handler.held.size(), 2u);
  EXPECT_EQ(handler.held[1]->buf_id, 4u);
  handler.held[0]->Complete(0);
  Settle();
  ASSERT_EQ(handler.held.size(), 3u);
  EXPECT_EQ(handler.held[2]->buf_id, 3u);
  handler.held[1]->Complete(0);
  handler.held[2]->Complete(0);
  EXPECT_EQ(again->ReceiveError(), 0);
  EXPECT_EQ(again->ReceiveError(), 0);
  Settle();
  EXPECT_EQ(server->stats().paths, 1u);
}

TEST_F(ConnectTest, ANewPathTakesThePlaceOfOneThatCloses) {
  Start();
  auto client = Connected("a");
  fabric.deaf = true;
  handler.sessions[0]->Disconnect();
  Settle();
  auto next = Client();  // same addresses, a name of its own
  next->request.paths_uuid = client->request.paths_uuid;
  EXPECT_TRUE(next->Establish(2, "a"));
  ExpectServes(next.get());
}

TEST_F(ConnectTest, RejectsOtherCidNumOfTheSamePath) {
  Start();
  auto client = Client();
  client->request.cid_num = 3;
  ASSERT_TRUE(client->Connect(0).accepted);
  client->request.cid_num = 4;
  EXPECT_EQ(client->Connect(1).error, ECONNRESET);
}

TEST_F(ConnectTest, RejectsACidTwice) {
  Start();
  auto client = Client();
  client->request.cid_num = 3;
  ASSERT_TRUE(client->Connect(0).accepted);
  ASSERT_TRUE(client->Connect(1).accepted);
  auto twin = Client();
  twin->request = client->request;
  EXPECT_EQ(twin->Connect(1).error, ECONNRESET);
  EXPECT_FALSE(client->disconnected(1));
}

TEST_F(ConnectTest, AcceptsCidsInAnyOrder) {
  Start();
  auto client = Client();
  client->request.cid_num = 3;
  for (uint16_t cid : {2, 0, 1}) EXPECT_TRUE(client->Connect(cid).accepted);
  EXPECT_TRUE(client->Info("a"));
}

TEST_F(ConnectTest, RejectsTheSameAddressPairInOneSession) {
  Start();
  auto client = Connected("a");
  auto second = Client();
  second->request.paths_uuid = client->request.paths_uuid;
  EXPECT_EQ(second->Connect(0).error, EEXIST);
  ExpectServes(client.get());
}

TEST_F(ConnectTest, AcceptsASecondPathFromAnotherAddress) {
  Start();
  auto client = Connected("a");
  auto second = Client();
  second->source = "127.0.0.2";
  second->request.paths_uuid = client->request.paths_uuid;
  second->request.first_conn = false;
  EXPECT_TRUE(second->Establish(2, "a"));
  EXPECT_EQ(handler.sessions.size(), 1u);
  EXPECT_EQ(server->stats().paths, 2u);
  EXPECT_EQ(server->stats().sessions, 1u);
}

TEST_F(ConnectTest, RejectsMorePathsThanASessionMayHave) {
  options.max_paths_per_peer = 1000;
  Start();
  std::vector<std::unique_ptr<RawClient>> paths;
  Uuid session{};
  session[0] = 1;
  for (uint32_t i = 0; i <= wire::kMaxPaths; ++i) {
    paths.push_back(Client());
    paths.back()->source = "127.0.1." + std::to_string(i + 1);
    paths.back()->request.paths_uuid = session;
    const RawClient::Reply reply = paths.back()->Connect(0);
    EXPECT_EQ(reply.error, i < wire::kMaxPaths ? 0 : ECONNRESET) << i;
  }
}

TEST_F(ConnectTest, LimitsSessions) {
  options.max_sessions = 2;
  Start();
  auto a = Connected("a");
  auto b = Connected("b");
  EXPECT_EQ(Client()->Connect(0).error, ENOMEM);
  EXPECT_EQ(server->stats().rejected_connects, 1u);
  b->Disconnect();
  Settle();
  EXPECT_TRUE(Client()->Connect(0).accepted);
}

TEST_F(ConnectTest, LimitsSessionsPerPeer) {
  options.max_sessions_per_peer = 1;
  Start();
  auto a = Connected("a");
  EXPECT_EQ(Client()->Connect(0).error, ENOMEM);
  auto other = Client();
  other->source = "127.0.0.2";
  EXPECT_TRUE(other->Connect(0).accepted);
}

TEST_F(ConnectTest, LimitsMemory) {
  options.max_memory = 2 * 8 * 8192 - 1;
  Start();
  auto a = Connected("a");
  EXPECT_EQ(Client()->Connect(0).error, ENOMEM);
  EXPECT_EQ(server->stats().chunk_bytes, 8u * 8192);
}

TEST_F(ConnectTest, LimitsPathsPerPeer) {
  options.max_paths_per_peer = 1;
  Start();
  auto a = Connected("a");
  EXPECT_EQ(Client()->Connect(0).error, ENOMEM);
}

TEST_F(ConnectTest, LimitsConnections) {
  options.max_connections = 3;
  Start();
  auto a = Connected("a");
  auto b = Client();
  b->request.cid_num = 2;
  EXPECT_TRUE(b->Connect(0).accepted);
  EXPECT_EQ(b->Connect(1).error, ENOMEM);
}

TEST_F(ConnectTest, LimitsConnectionsPerPeer) {
  options.max_connections_per_peer = 2;
  Start();
  auto a = Connected("a");
  EXPECT_EQ(Client()->Connect(0).error, ENOMEM);
  auto other = Client();
  other->source = "127.0.0.2";
  EXPECT_TRUE(other->Connect(0).accepted);
}

TEST_F(ConnectTest, HalfOpenPathsTimeOut) {
  Start();
  auto client = Client();
  client->request.cid_num = 2;
  ASSERT_TRUE(client->Connect(0).accepted);
  EXPECT_EQ(server->worker(0)->NextDeadline(),
            clock.Now() + options.half_open_timeout);
  clock.Advance(options.half_open_timeout - absl::Seconds(1));
  Settle();
  client->Drain();
  EXPECT_FALSE(client->disconnected(0));
  clock.Advance(absl::Seconds(1));
  EXPECT_TRUE(client->WaitDisconnected());
  Settle();
  EXPECT_EQ(server->stats().sessions, 0u);
  EXPECT_EQ(server->stats().connections, 0u);
}

TEST_F(ConnectTest, RejectsAfterShutdown) {
  Start();
  auto a = Connected("a");
  auto late = Client();
  handler.hold = true;
  a->SendWrite(1, 0, {}, std::vector<uint8_t>(8));
  ASSERT_TRUE(a->Wait([&] { return !handler.held.empty(); }));
  server->Shutdown([] {});
  Settle();
  EXPECT_FALSE(late->Connect(0).accepted);
  handler.held[0]->Complete(0);
  Settle();
}

TEST(ServerOptionsTest, NamesTheParameterAndTheValue) {
  ServerOptions options;
  EXPECT_TRUE(CheckServerOptions(options).ok());
  options.max_chunk_size = 12288;
  EXPECT_TRUE(CheckServerOptions(options).ok());
  options.max_chunk_size = 12800;
  EXPECT_THAT(std::string(CheckServerOptions(options).message()),
              testing::HasSubstr("max_chunk_size=12800"));
  options = {};
  options.sess_queue_depth = 0;
  EXPECT_FALSE(CheckServerOptions(options).ok());
  options.sess_queue_depth = 65536;
  EXPECT_FALSE(CheckServerOptions(options).ok());
  options.sess_queue_depth = 512;
  options.max_chunk_size = 1 << 20;
  EXPECT_FALSE(CheckServerOptions(options).ok());
  options.sess_queue_depth = 256;
  EXPECT_TRUE(CheckServerOptions(options).ok());
  options.max_memory = 1;
  EXPECT_FALSE(CheckServerOptions(options).ok());
}

TEST(CheckDeviceTest, AlwaysInvalidateNeedsMemoryWindowsAndLongQueues) {
  fabric::DeviceAttr device;
  device.name = "small0";
  device.max_qp_wr = 100;
  ServerOptions options;
  EXPECT_TRUE(CheckDevice(options, device).ok());
  options.always_invalidate = true;
  EXPECT_THAT(std::string(CheckDevice(options, device).message()),
              testing::AllOf(testing::HasSubstr("always_invalidate"),
                             testing::HasSubstr("small0"),
                             testing::HasSubstr("memory windows")));
  device.memory_windows = true;
  EXPECT_THAT(std::string(CheckDevice(options, device).message()),
              testing::HasSubstr("sess_queue_depth=512"));
  options.sess_queue_depth = 64;
  EXPECT_TRUE(CheckDevice(options, device).ok());
}

}  // namespace
}  // namespace rtrs::server
