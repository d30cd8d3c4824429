// Setting a session up: connect requests, rejections, hostile accepts and
// INFO_RSPs, timeouts, several paths. wire.md §1, §2, §5.6.
#include <errno.h>

#include "rtrs/wire/coding.h"
#include "tests/client/session_fixture.h"

namespace rtrs::client {
namespace {

using testing::Test;

class SessionSetupTest : public SessionTest {
 protected:
  // Starts, and expects the end with `error` and everything cleaned up.
  void ExpectFailure(int error) {
    Start();
    Settle();
    ExpectClosed(error);
  }
  void ExpectClosed(int error) {
    EXPECT_EQ(session_->state(), SessionState::kClosed);
    EXPECT_EQ(ErrnoOf(why_), error) << why_;
    EXPECT_NE(why_.message().find("127.0.0.1"), std::string::npos) << why_;
  }
};

TEST_F(SessionSetupTest, ConnectsAllCidsInOrderWithOneIdentity) {
  FakeServer* server = AddServer();
  options_.io_connections = 3;
  Connect();
  ASSERT_EQ(server->connects.size(), 4u);
  for (uint16_t cid = 0; cid < 4; ++cid) {
    const wire::ConnectRequest& request = server->connects[cid];
    EXPECT_EQ(request.cid, cid);
    EXPECT_EQ(request.cid_num, 4);
    EXPECT_EQ(request.recon_cnt, 1);
    EXPECT_TRUE(request.first_conn);
    EXPECT_EQ(request.sess_uuid, server->connects[0].sess_uuid);
    EXPECT_EQ(request.paths_uuid, server->connects[0].paths_uuid);
    EXPECT_TRUE(request.capabilities.Has(wire::Capabilities::kWriteVerifier));
    EXPECT_TRUE(request.capabilities.Has(wire::Capabilities::kWriteZeroes));
    EXPECT_TRUE(request.capabilities.Has(wire::Capabilities::kFence));
  }
  EXPECT_NE(server->connects[0].sess_uuid, server->connects[0].paths_uuid);
  EXPECT_EQ(server->names, std::vector<std::string>{"clt"});
  EXPECT_EQ(states_, (std::vector<SessionState>{SessionState::kConnecting,
                                                SessionState::kConnected}));
}

TEST_F(SessionSetupTest, NextCidWaitsForTheAccept) {
  FakeServer* server = AddServer();
  Start();
  EXPECT_TRUE(server->connects.empty());
  server->Step();
  EXPECT_EQ(server->connects.size(), 1u);
  server->Step();
  EXPECT_EQ(server->connects.size(), 1u);
  session_->Progress();
  server->Step();
  EXPECT_EQ(server->connects.size(), 2u);
}

TEST_F(SessionSetupTest, LimitsAndCapabilitiesAreTaken) {
  AddServer("127.0.0.1", {.queue_depth = 64,
                          .max_io_size = 126976,
                          .capabilities = wire::Capabilities::kWriteZeroes});
  Connect();
  EXPECT_EQ(session_->limits().queue_depth, 64u);
  EXPECT_EQ(session_->limits().max_io_size, 126976u);
  EXPECT_EQ(session_->limits().max_hdr_size, 4096u);
  EXPECT_EQ(session_->limits().capabilities.bits,
            wire::Capabilities::kWriteZeroes);
}

TEST_F(SessionSetupTest, QueueDepthOneWorks) {
  FakeServer* server = AddServer("127.0.0.1", {.queue_depth = 1});
  Connect();
  for (int i = 0; i < 50; ++i) {
    TestRequest write(Direction::kWrite, 512);
    Submit(&write);
    ASSERT_EQ(write.request.error, 0);
  }
  EXPECT_EQ(server->requests.size(), 50u);
}

TEST_F(SessionSetupTest, BadOptionsAreRefused) {
  options_.sessname = "a.b";
  AddServer();
  Start();
  EXPECT_EQ(session_->state(), SessionState::kClosed);
  EXPECT_EQ(ErrnoOf(why_), EINVAL);
  EXPECT_NE(why_.message().find("a.b"), std::string::npos) << why_;
}

TEST_F(SessionSetupTest, NoPathsIsRefused) {
  Start();
  EXPECT_EQ(session_->state(), SessionState::kClosed);
  EXPECT_EQ(ErrnoOf(why_), EINVAL);
}

TEST_F(SessionSetupTest, NothingListens) {
  AddPath("127.0.0.1", 9);
  ExpectFailure(ECONNREFUSED);
}

TEST_F(SessionSetupTest, ConnectTimesOut) {
  AddServer();
  fabric_.set_black_hole(true);
  Start();
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kConnecting);
  clock_.Advance(options_.connect_timeout - absl::Milliseconds(1));
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kConnecting);
  clock_.Advance(absl::Milliseconds(1));
  Settle();
  ExpectClosed(ETIMEDOUT);
}

struct RejectCase {
  int sent;  // -1: no private data
  int seen;
};
class RejectTest : public SessionSetupTest,
                   public testing::WithParamInterface<RejectCase> {};

TEST_P(RejectTest, ErrnoIsReported) {
  FakeServer* server = AddServer();
  server->on_connect = [](const wire::ConnectRequest&) {
    return GetParam().sent;
  };
  ExpectFailure(GetParam().seen);
}

TEST_P(RejectTest, LaterConnectionLeavesNothingBehind) {
  FakeServer* server = AddServer();
  server->on_connect = [](const wire::ConnectRequest& request) {
    return request.cid == 2 ? GetParam().sent : 0;
  };
  ExpectFailure(GetParam().seen);
  EXPECT_EQ(server->connects.size(), 3u);
  // The connections that were made are disconnected: no zombie stays.
  EXPECT_EQ(server->disconnects(), 2u);
  EXPECT_TRUE(server->names.empty());
}

INSTANTIATE_TEST_SUITE_P(All, RejectTest,
                         testing::Values(RejectCase{ENXIO, ENXIO},
                                         RejectCase{ENOMEM, ENOMEM},
                                         RejectCase{EEXIST, EEXIST},
                                         RejectCase{ECONNRESET, ECONNRESET},
                                         RejectCase{-1, ECONNRESET}));

TEST_F(SessionSetupTest, RejectionSaysThatTheNameMayBeInUse) {
  FakeServer* server = AddServer();
  server->on_connect = [](const wire::ConnectRequest&) { return ECONNRESET; };
  ExpectFailure(ECONNRESET);
  EXPECT_NE(why_.message().find("may still be in use"), std::string::npos)
      << why_;
}

// One field of the accept of cid 0, and the value put there.
struct AcceptCase {
  const char* name;
  size_t offset;
  int size;
  uint32_t value;
};
class HostileAcceptTest : public SessionSetupTest,
                          public testing::WithParamInterface<AcceptCase> {};

TEST_P(HostileAcceptTest, IsRefused) {
  FakeServer* server = AddServer();
  server->edit_accept = [](uint16_t, std::vector<uint8_t>& bytes) {
    const AcceptCase& c = GetParam();
    if (c.size == 2) {
      wire::PutLe(bytes.data() + c.offset, static_cast<uint16_t>(c.value));
    } else {
      wire::PutLe(bytes.data() + c.offset, c.value);
    }
  };
  Start();
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kClosed);
  EXPECT_FALSE(why_.ok());
  EXPECT_EQ(server->connects.size(), 1u);
  EXPECT_EQ(server->disconnects(), 1u);
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileAcceptTest,
    testing::Values(
        AcceptCase{"magic", 0, 2, 0x1BBE}, AcceptCase{"version", 2, 2, 0x0300},
        AcceptCase{"error", 4, 2, 0xFF98}, AcceptCase{"no_queue", 6, 2, 0},
        AcceptCase{"deep_queue", 6, 2, 65535}, AcceptCase{"no_io", 8, 4, 0},
        AcceptCase{"tiny_io", 8, 4, 511},
        AcceptCase{"huge_io", 8, 4, 0xFFFFFFFF},
        AcceptCase{"wrapping_io", 8, 4, 0xFFFFF000},
        AcceptCase{"large_io", 8, 4, 8u << 20},
        AcceptCase{"no_header", 12, 4, 0}, AcceptCase{"tiny_header", 12, 4, 63},
        AcceptCase{"huge_header", 12, 4, 0xFFFFFFFF},
        AcceptCase{"large_header", 12, 4, 65537}),
    [](const auto& p) { return std::string(p.param.name); });

TEST_F(SessionSetupTest, ShortAcceptIsRefused) {
  FakeServer* server = AddServer();
  server->edit_accept = [](uint16_t, std::vector<uint8_t>& bytes) {
    bytes.resize(55);
  };
  Start();
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kClosed);
}

TEST_F(SessionSetupTest, PaddedAcceptIsFine) {
  FakeServer* server = AddServer();
  server->edit_accept = [](uint16_t, std::vector<uint8_t>& bytes) {
    bytes.resize(196);
  };
  Connect();
}

TEST_F(SessionSetupTest, QueueDepthAndChunkMustFitTheImmediate) {
  // 16 id bits leave 12: no chunk of 8 KiB fits.
  FakeServer* server = AddServer();
  server->edit_accept = [](uint16_t, std::vector<uint8_t>& bytes) {
    wire::PutLe<uint16_t>(bytes.data() + 6, 40000);
    wire::PutLe<uint32_t>(bytes.data() + 8, 4096);
  };
  ExpectFailure(EPROTO);
  EXPECT_NE(why_.message().find("28 bits"), std::string::npos) << why_;
}

TEST_F(SessionSetupTest, OurOwnBoundsAreKept) {
  options_.max_queue_depth = 7;
  AddServer();  // has 8
  ExpectFailure(EPROTO);
}

TEST_F(SessionSetupTest, DisconnectAfterInfoRequestIsARefusedName) {
  FakeServer* server = AddServer();
  server->on_info = [server](size_t path) {
    for (uint16_t cid = 0; cid < 3; ++cid) server->Disconnect(path, cid);
    return true;
  };
  ExpectFailure(EPERM);
  EXPECT_NE(why_.message().find("\"clt\""), std::string::npos) << why_;
}

TEST_F(SessionSetupTest, LossBeforeInfoRequestIsNoRefusedName) {
  FakeServer* server = AddServer();
  server->on_connect = [server](const wire::ConnectRequest& request) {
    if (request.cid == 2) server->Disconnect(0, 0);
    return 0;
  };
  ExpectFailure(ECONNRESET);
}

TEST_F(SessionSetupTest, InfoTimesOut) {
  FakeServer* server = AddServer();
  server->on_info = [](size_t) { return true; };
  Start();
  Settle();
  clock_.Advance(options_.info_timeout - absl::Milliseconds(1));
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kConnecting);
  clock_.Advance(absl::Milliseconds(1));
  Settle();
  ExpectClosed(ETIMEDOUT);
  EXPECT_EQ(server->disconnects(), 3u);
}

// Bytes of INFO_RSP (8 + 16 * 4 here) changed.
struct InfoCase {
  const char* name;
  void (*edit)(std::vector<uint8_t>&);
};
class HostileInfoTest : public SessionSetupTest,
                        public testing::WithParamInterface<InfoCase> {};

TEST_P(HostileInfoTest, IsRefused) {
  FakeServer* server = AddServer("127.0.0.1", {.info_regions = 4});
  server->edit_info = GetParam().edit;
  Start();
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kClosed);
  EXPECT_FALSE(why_.ok());
  EXPECT_EQ(server->disconnects(), 3u);
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileInfoTest,
    testing::Values(
        InfoCase{"empty", [](auto& b) { b.resize(1); }},
        InfoCase{"short", [](auto& b) { b.resize(b.size() - 1); }},
        InfoCase{"too_long", [](auto& b) { b.resize(8 + 16 * 9); }},
        InfoCase{"type", [](auto& b) { b[0] = 4; }},
        InfoCase{"no_regions", [](auto& b) { b[2] = 0; }},
        InfoCase{"more_than_there", [](auto& b) { b[2] = 8; }},
        InfoCase{"not_a_divisor", [](auto& b) { b[2] = 3; }},
        InfoCase{"many", [](auto& b) { b[2] = b[3] = 0xFF; }},
        InfoCase{"zero_length",
                 [](auto& b) { wire::PutLe<uint32_t>(b.data() + 20, 0); }},
        InfoCase{"odd_length",
                 [](auto& b) { wire::PutLe<uint32_t>(b.data() + 20, 32769); }},
        InfoCase{"too_little",
                 [](auto& b) { wire::PutLe<uint32_t>(b.data() + 20, 16384); }},
        InfoCase{"too_much",
                 [](auto& b) { wire::PutLe<uint32_t>(b.data() + 20, 65536); }},
        InfoCase{"wrapping",
                 [](auto& b) {
                   for (size_t i = 0; i < 4; ++i) {
                     wire::PutLe<uint32_t>(b.data() + 20 + 16 * i, 0xFFFFC000);
                   }
                 }}),
    [](const auto& p) { return std::string(p.param.name); });

TEST_F(SessionSetupTest, SecondPathJoinsTheSession) {
  FakeServer* first = AddServer("127.0.0.1");
  FakeServer* second = AddServer("127.0.0.2");
  Connect();
  ASSERT_EQ(second->connects.size(), 3u);
  EXPECT_EQ(first->connects[0].paths_uuid, second->connects[0].paths_uuid);
  EXPECT_NE(first->connects[0].sess_uuid, second->connects[0].sess_uuid);
  // Not before its cid 0 was accepted may it stand for a new session.
  EXPECT_FALSE(second->connects[0].first_conn);
  EXPECT_TRUE(second->connects[1].first_conn);
  EXPECT_EQ(second->names, std::vector<std::string>{"clt"});
}

TEST_F(SessionSetupTest, SessionComesUpWithThePathsThatWork) {
  AddPath("127.0.0.1", 9);
  FakeServer* server = AddServer("127.0.0.2");
  Connect();
  // Nobody made the session before.
  EXPECT_TRUE(server->connects[0].first_conn);
}

TEST_F(SessionSetupTest, FailureOfASecondPathDoesNotMatter) {
  FakeServer* server = AddServer("127.0.0.1");
  AddPath("127.0.0.2", 9);
  Connect();
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  EXPECT_EQ(write.request.error, 0);
  EXPECT_EQ(server->requests.size(), 1u);
}

TEST_F(SessionSetupTest, PathWithOtherNumbersIsRefused) {
  AddServer("127.0.0.1");
  FakeServer* other = AddServer("127.0.0.2", {.queue_depth = 16});
  Connect();
  EXPECT_EQ(other->disconnects(), 3u);
  EXPECT_EQ(session_->state(), SessionState::kConnected);
}

TEST_F(SessionSetupTest, AllPathsFailingTellsTheFirstReason) {
  AddPath("127.0.0.1", 9);
  FakeServer* server = AddServer("127.0.0.2");
  server->on_connect = [](const wire::ConnectRequest&) { return ENOMEM; };
  ExpectFailure(ECONNREFUSED);
}

TEST_F(SessionSetupTest, CloseWhileConnecting) {
  FakeServer* server = AddServer();
  server->on_info = [](size_t) { return true; };
  Start();
  Settle();
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  session_->Close();
  Settle();
  EXPECT_EQ(session_->state(), SessionState::kClosed);
  EXPECT_EQ(write.request.error, ESHUTDOWN);
  EXPECT_EQ(server->disconnects(), 3u);
}

}  // namespace
}  // namespace rtrs::client
