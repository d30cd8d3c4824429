// Two connections joined by a network that may lose datagrams.
#include "rtrs/fabric/softroce/connection.h"

#include <gtest/gtest.h>

#include <deque>

#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"

namespace rtrs::softroce {
namespace {

class Outbox : public CmOutput {
 public:
  void SendCm(const CmDatagram& datagram) override {
    // What travels is the encoded form.
    const Mad mad = EncodeCm(datagram);
    absl::StatusOr<CmDatagram> decoded = DecodeCm(mad);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    sent.push_back(*decoded);
  }
  CmDatagram Take() {
    CmDatagram datagram = sent.front();
    sent.pop_front();
    return datagram;
  }
  std::deque<CmDatagram> sent;
};

CmReq Request() {
  CmReq req;
  req.local_comm_id = 11;
  req.service_id = ServiceId(1234);
  req.qpn = 100;
  req.local_gid =
      req.remote_gid = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1};
  req.private_data[0] = 0x42;
  return req;
}

CmRep Reply() {
  CmRep rep;
  rep.local_comm_id = 22;
  rep.remote_comm_id = 11;
  rep.qpn = 200;
  return rep;
}

class ConnectionTest : public testing::Test {
 protected:
  absl::Time Now() { return clock_.Now(); }
  // REQ sent and received.
  void Begin() {
    active_.SendReq(Request(), 5, Now(), Now() + absl::Seconds(30));
    const CmDatagram req = to_passive_.Take();
    passive_.OnReq(std::get<CmReq>(req.message), req.transaction_id, 22);
  }
  void Establish() {
    Begin();
    passive_.Accept(Reply(), Now());
    ASSERT_EQ(active_.OnMessage(to_active_.Take(), Now()), CmOutcome::kReplied);
    ASSERT_EQ(passive_.OnMessage(to_passive_.Take(), Now()),
              CmOutcome::kEstablished);
  }
  CmOutcome Expire(Connection& connection) {
    clock_.Advance(connection.NextDeadline() - Now());
    return connection.OnTimer(Now());
  }

  ManualClock clock_;
  Outbox to_passive_;
  Outbox to_active_;
  Connection active_{&to_passive_};
  Connection passive_{&to_active_};
};

TEST_F(ConnectionTest, Establishes) {
  Establish();
  EXPECT_EQ(active_.rep().qpn, 200u);
  EXPECT_EQ(passive_.req().private_data[0], 0x42);
  EXPECT_EQ(active_.NextDeadline(), absl::InfiniteFuture());
  EXPECT_EQ(passive_.NextDeadline(), absl::InfiniteFuture());
}

TEST_F(ConnectionTest, LostReqIsSentAgain) {
  active_.SendReq(Request(), 5, Now(), Now() + absl::Seconds(30));
  to_passive_.sent.clear();
  EXPECT_EQ(Expire(active_), CmOutcome::kNone);
  ASSERT_EQ(to_passive_.sent.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<CmReq>(to_passive_.sent[0].message));
}

TEST_F(ConnectionTest, SilenceTimesOutAtTheDeadline) {
  const absl::Time begin = Now();
  active_.SendReq(Request(), 5, Now(), Now() + absl::Seconds(30));
  CmOutcome outcome = CmOutcome::kNone;
  for (int i = 0; i < 50 && outcome == CmOutcome::kNone; ++i) {
    outcome = Expire(active_);
  }
  EXPECT_EQ(outcome, CmOutcome::kTimedOut);
  EXPECT_EQ(Now() - begin, absl::Seconds(30));
}

TEST_F(ConnectionTest, LostRepIsSentAgain) {
  Begin();
  passive_.Accept(Reply(), Now());
  to_active_.sent.clear();
  Expire(passive_);
  EXPECT_EQ(active_.OnMessage(to_active_.Take(), Now()), CmOutcome::kReplied);
}

TEST_F(ConnectionTest, DuplicateReqGetsTheSameRep) {
  Begin();
  passive_.Accept(Reply(), Now());
  to_active_.sent.clear();
  EXPECT_EQ(passive_.OnMessage({5, Request()}, Now()), CmOutcome::kNone);
  ASSERT_EQ(to_active_.sent.size(), 1u);
  EXPECT_EQ(std::get<CmRep>(to_active_.sent[0].message).qpn, 200u);
}

TEST_F(ConnectionTest, LostRtuIsMadeUpForByTraffic) {
  Begin();
  passive_.Accept(Reply(), Now());
  active_.OnMessage(to_active_.Take(), Now());
  to_passive_.sent.clear();
  EXPECT_EQ(passive_.OnTraffic(), CmOutcome::kEstablished);
  EXPECT_EQ(passive_.OnTraffic(), CmOutcome::kNone);
}

TEST_F(ConnectionTest, DuplicateRepGetsAnotherRtu) {
  Establish();
  active_.OnMessage({5, Reply()}, Now());
  ASSERT_EQ(to_passive_.sent.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<CmRtu>(to_passive_.sent[0].message));
}

TEST_F(ConnectionTest, RejectionCarriesPrivateData) {
  Begin();
  const uint8_t why[] = {0xBD, 0x1B};
  passive_.Reject(RejectReason::kConsumer, why, Now());
  EXPECT_EQ(active_.OnMessage(to_active_.Take(), Now()), CmOutcome::kRejected);
  EXPECT_EQ(active_.rej().reason, RejectReason::kConsumer);
  EXPECT_EQ(active_.rej().private_data[1], 0x1B);
}

TEST_F(ConnectionTest, MraGivesTheConsumerTime) {
  Begin();
  // 4.096 us * 2^21 = 8.6 s.
  active_.OnMessage({5, CmMra{22, 11, 0, 21}}, Now());
  EXPECT_EQ(active_.state(), CmState::kMraReceived);
  EXPECT_GT(active_.NextDeadline() - Now(), absl::Seconds(8));
}

TEST_F(ConnectionTest, DisconnectIsAnsweredOnBothSides) {
  Establish();
  EXPECT_EQ(active_.Disconnect(Now()), CmOutcome::kNone);
  EXPECT_EQ(passive_.OnMessage(to_passive_.Take(), Now()),
            CmOutcome::kDisconnected);
  EXPECT_EQ(active_.OnMessage(to_active_.Take(), Now()),
            CmOutcome::kDisconnected);
  EXPECT_EQ(Expire(active_), CmOutcome::kNone);
  EXPECT_EQ(active_.state(), CmState::kClosed);
}

TEST_F(ConnectionTest, BothLeaveAtOnce) {
  Establish();
  active_.Disconnect(Now());
  passive_.Disconnect(Now());
  EXPECT_EQ(active_.OnMessage(to_active_.Take(), Now()),
            CmOutcome::kDisconnected);
  EXPECT_EQ(passive_.OnMessage(to_passive_.Take(), Now()),
            CmOutcome::kDisconnected);
}

TEST_F(ConnectionTest, DeadPeerDoesNotHoldUpADisconnect) {
  Establish();
  active_.Disconnect(Now());
  CmOutcome outcome = CmOutcome::kNone;
  for (int i = 0; i < 20 && outcome == CmOutcome::kNone; ++i) {
    outcome = Expire(active_);
  }
  EXPECT_EQ(outcome, CmOutcome::kDisconnected);
}

TEST_F(ConnectionTest, LateDreqIsStillAnswered) {
  Establish();
  active_.Disconnect(Now());
  const CmDatagram dreq = to_passive_.Take();
  passive_.OnMessage(dreq, Now());
  to_active_.sent.clear();
  EXPECT_EQ(passive_.OnMessage(dreq, Now()), CmOutcome::kNone);
  ASSERT_EQ(to_active_.sent.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<CmDrep>(to_active_.sent[0].message));
}

// Every message may be lost; both ends still come to agree.
TEST(ConnectionLossTest, EstablishesAndLeavesOverABadNetwork) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SeededRandom random(seed);
    ManualClock clock;
    Outbox to_passive;
    Outbox to_active;
    Connection active(&to_passive);
    Connection passive(&to_active);
    bool up = false;
    bool active_down = false;
    bool passive_down = false;
    active.SendReq(Request(), 5, clock.Now(), clock.Now() + absl::Hours(1));
    for (int i = 0; i < 10000 && !(active_down && passive_down); ++i) {
      if (!to_passive.sent.empty()) {
        const CmDatagram d = to_passive.Take();
        if (random.Below(3) != 0) {
          if (passive.state() == CmState::kIdle) {
            passive.OnReq(std::get<CmReq>(d.message), d.transaction_id, 22);
            passive.Accept(Reply(), clock.Now());
          } else {
            const CmOutcome o = passive.OnMessage(d, clock.Now());
            passive_down |= o == CmOutcome::kDisconnected;
          }
        }
      }
      if (!to_active.sent.empty()) {
        const CmDatagram d = to_active.Take();
        if (random.Below(3) != 0) {
          const CmOutcome o = active.OnMessage(d, clock.Now());
          up |= o == CmOutcome::kReplied;
          active_down |= o == CmOutcome::kDisconnected;
        }
      }
      if (up && active.state() == CmState::kEstablished &&
          passive.OnTraffic() == CmOutcome::kEstablished) {
        active.Disconnect(clock.Now());
      }
      if (up && passive.state() == CmState::kEstablished &&
          active.state() == CmState::kEstablished) {
        active.Disconnect(clock.Now());
      }
      clock.Advance(absl::Milliseconds(100));
      const CmOutcome a = active.OnTimer(clock.Now());
      active_down |= a == CmOutcome::kDisconnected;
      ASSERT_NE(a, CmOutcome::kTimedOut) << "seed " << seed;
      const CmOutcome p = passive.OnTimer(clock.Now());
      passive_down |=
          p == CmOutcome::kDisconnected || p == CmOutcome::kTimedOut;
      if (active_down && passive.state() == CmState::kEstablished) {
        passive.Disconnect(clock.Now());  // every DREQ was lost
      }
    }
    ASSERT_TRUE(active_down && passive_down) << "seed " << seed;
  }
}

}  // namespace
}  // namespace rtrs::softroce
