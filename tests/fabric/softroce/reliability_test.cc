// Data over a link that loses, repeats and reorders; and the rules of roce.md
// §6 and §7 one by one.
#include <string>
#include <vector>

#include "tests/fabric/softroce/reliability_fixture.h"

namespace rtrs::softroce {
namespace {

using fabric::Sge;
using fabric::WcStatus;
using fabric::WrOpcode;

// Random messages over a bad link: everything arrives once, in order.
TEST_P(Reliability, DataIsRightOverABadLink) {
  SeededRandom random(GetParam());
  std::vector<std::vector<uint8_t>> sources;
  std::vector<uint8_t> expected(memory_.bytes.size());
  std::vector<uint32_t> imms;
  const int messages = 60;
  for (int i = 0; i < messages; ++i) {
    auto& data = sources.emplace_back(
        random.Below(5) == 0 ? 0 : 1 + random.Below(20 * kMtu));
    random.Fill(absl::MakeSpan(data));
  }
  for (int i = 0; i < messages; ++i) {
    const auto& data = sources[static_cast<size_t>(i)];
    const uint64_t offset = random.Below(expected.size() - data.size());
    const bool imm = random.Below(2) == 0;
    std::copy(data.begin(), data.end(),
              expected.begin() + static_cast<long>(offset));
    PostWrite(data, offset, imm, static_cast<uint64_t>(i));
    if (imm) imms.push_back(static_cast<uint32_t>(i));
  }
  std::deque<Flying> wire;
  std::deque<Responder::Ack> back;
  uint64_t posted = 0;
  int done = 0;
  std::vector<uint32_t> received;
  for (int round = 0; round < 200000 && done < messages; ++round) {
    if (posted < received.size() + 2) {
      fabric::RecvWr wr;
      wr.wr_id = posted++;
      responder_->PostRecv(wr);
    }
    TxPacket packet;
    if (requester_->NextPacket(clock_.Now(), &packet)) {
      Flying f{packet, {}};
      Copy(&f);
      const uint64_t fate = random.Below(100);
      if (fate >= 10) wire.push_back(f);
      if (fate >= 95) wire.push_back(f);   // repeated
      if (fate < 15 && wire.size() > 1) {  // overtaken
        std::swap(wire.back(), wire[wire.size() - 2]);
      }
    }
    if (!wire.empty() && random.Below(3) != 0) {
      Deliver(wire.front());
      wire.pop_front();
      if (auto ack = responder_->TakeAck()) {
        if (random.Below(10) != 0) back.push_back(*ack);
      }
    }
    if (!back.empty() && random.Below(2) == 0) {
      const Responder::Ack ack = back.front();
      back.pop_front();
      if (ack.aeth.syndrome == kAckSyndrome) {
        requester_->OnAck(ack.psn, clock_.Now());
      } else {
        requester_->OnNak(ack.aeth.syndrome, ack.psn, clock_.Now());
      }
    }
    clock_.Advance(absl::Microseconds(50));
    requester_->OnTimer(clock_.Now());
    ASSERT_FALSE(responder_->failed());
    for (SendCompletion c; requester_->NextCompletion(&c); ++done) {
      ASSERT_EQ(c.wr_id, static_cast<uint64_t>(done));
      ASSERT_EQ(c.status, WcStatus::kSuccess);
    }
    for (ReceiveCompletion c; responder_->NextCompletion(&c);) {
      received.push_back(c.wc.imm);
      ASSERT_EQ(c.wc.byte_len, sources[c.wc.imm].size());
    }
  }
  EXPECT_EQ(done, messages);
  EXPECT_EQ(received, imms);
  EXPECT_EQ(memory_.bytes, expected);
  EXPECT_GT(requester_->stats().retransmitted, 0u);
}
INSTANTIATE_TEST_SUITE_P(Seeds, Reliability, testing::Range<uint64_t>(1, 301));

class Rules : public Reliability {};

TEST_F(Rules, LongWriteIsSegmentedAndPsnWraps) {
  std::vector<uint8_t> data(40 * kMtu + 3, 0xAB);
  PostWrite(data, 7);
  Settle();
  SendCompletion c;
  ASSERT_TRUE(requester_->NextCompletion(&c));
  EXPECT_EQ(c.status, WcStatus::kSuccess);
  EXPECT_TRUE(std::equal(data.begin(), data.end(), memory_.bytes.begin() + 7));
  EXPECT_EQ(requester_->stats().packets, 41u);
}

TEST_F(Rules, EmptyWriteWithImmediateNeedsNoKey) {
  responder_->PostRecv({.wr_id = 9});
  PostWrite({}, 0, true, 3, 0);
  Settle();
  ReceiveCompletion c;
  ASSERT_TRUE(responder_->NextCompletion(&c));
  EXPECT_EQ(c.wc.wr_id, 9u);
  EXPECT_EQ(c.wc.imm, 3u);
  EXPECT_EQ(c.wc.byte_len, 0u);
}

TEST_F(Rules, SendFillsTheReceive) {
  std::vector<uint8_t> buffer(1000);
  responder_->PostRecv({5, buffer.data(), 1000, 0});
  const std::vector<uint8_t> data(600, 0x5A);
  const Sge sge{data.data(), 600, 0};
  fabric::SendWr wr;
  wr.opcode = WrOpcode::kSendWithInv;
  wr.invalidate_rkey = 0x77;
  wr.flags = fabric::kSignaled;
  wr.sg_list = absl::MakeConstSpan(&sge, 1);
  requester_->Post(wr);
  Settle();
  ReceiveCompletion c;
  ASSERT_TRUE(responder_->NextCompletion(&c));
  EXPECT_EQ(c.wc.opcode, fabric::WcOpcode::kRecv);
  EXPECT_EQ(c.wc.byte_len, 600u);
  EXPECT_EQ(c.wc.invalidated_rkey, 0x77u);
  EXPECT_TRUE(std::equal(data.begin(), data.end(), buffer.begin()));
}

TEST_F(Rules, InlineDataMayBeReusedAtOnce) {
  std::vector<uint8_t> data(100, 1);
  const Sge sge{data.data(), 100, 0};
  fabric::SendWr wr;
  wr.opcode = WrOpcode::kRdmaWrite;
  wr.flags = fabric::kInline;
  wr.sg_list = absl::MakeConstSpan(&sge, 1);
  wr.remote_address = Memory::kBase;
  wr.rkey = kRkey;
  requester_->Post(wr);
  std::fill(data.begin(), data.end(), uint8_t{2});
  Settle();
  EXPECT_EQ(memory_.bytes[0], 1);
}

TEST_F(Rules, GapIsNakedOnceAndSentAgain) {
  const std::vector<uint8_t> data(5 * kMtu, 3);
  PostWrite(data, 0);
  Take();  // lost
  Deliver(Take());
  auto nak = responder_->TakeAck();
  ASSERT_TRUE(nak.has_value());
  EXPECT_EQ(nak->aeth.syndrome, kNakPsnSequence);
  EXPECT_EQ(nak->psn, 0xFFFFF0u);
  Deliver(Take());
  EXPECT_FALSE(responder_->TakeAck().has_value()) << "one NAK for one gap";
  requester_->OnNak(nak->aeth.syndrome, nak->psn, clock_.Now());
  Settle();
  EXPECT_EQ(memory_.bytes[5 * kMtu - 1], 3);
  EXPECT_EQ(requester_->stats().sequence_naks, 1u);
}

TEST_F(Rules, DuplicateIsAcknowledgedAndNotExecuted) {
  const std::vector<uint8_t> data(10, 4);
  PostWrite(data, 0);
  const Flying f = Take();
  Deliver(f);
  responder_->TakeAck();  // lost
  memory_.bytes[0] = 99;
  Deliver(f);
  EXPECT_EQ(memory_.bytes[0], 99);
  const auto ack = responder_->TakeAck();
  ASSERT_TRUE(ack.has_value());
  EXPECT_EQ(ack->aeth.syndrome, kAckSyndrome);
  EXPECT_EQ(ack->psn, 0xFFFFF0u);
}

TEST_F(Rules, LostTailIsProbedBeforeTheTimeout) {
  const std::vector<uint8_t> data(10, 4);
  PostWrite(data, 0);
  Take();  // lost
  clock_.Advance(requester_->NextDeadline() - clock_.Now());
  requester_->OnTimer(clock_.Now());
  EXPECT_EQ(requester_->stats().probes, 1u);
  Settle();
  EXPECT_EQ(requester_->stats().timeouts, 0u);
  EXPECT_EQ(memory_.bytes[9], 4);
}

// A peer that needs longer than the first time-out, always: the time-out has to
// find that out, though all that it was measured with was sent again.
TEST_F(Rules, SlowPeerIsNotFlooded) {
  constexpr int kMessages = 200;
  constexpr absl::Duration kOneWay = absl::Milliseconds(12);
  std::deque<std::pair<absl::Time, Flying>> out;
  std::deque<std::pair<absl::Time, Responder::Ack>> back;
  int posted = 0;
  while (posted < kMessages || !requester_->idle()) {
    while (posted < kMessages && requester_->pending() < 4) {
      PostWrite(std::vector<uint8_t>(2 * kMtu, 1), 0, false, 1);
      ++posted;
    }
    Flying f;
    while (requester_->NextPacket(clock_.Now(), &f.packet)) {
      Copy(&f);
      out.emplace_back(clock_.Now() + kOneWay, f);
      f.payload.clear();
    }
    absl::Time next = requester_->NextDeadline();
    if (!out.empty()) next = std::min(next, out.front().first);
    if (!back.empty()) next = std::min(next, back.front().first);
    ASSERT_NE(next, absl::InfiniteFuture());
    clock_.Advance(next - clock_.Now());
    for (; !out.empty() && out.front().first <= next; out.pop_front()) {
      Deliver(out.front().second);
      if (const auto ack = responder_->TakeAck()) {
        back.emplace_back(next + kOneWay, *ack);
      }
    }
    for (; !back.empty() && back.front().first <= next; back.pop_front()) {
      ASSERT_EQ(back.front().second.aeth.syndrome, kAckSyndrome);
      requester_->OnAck(back.front().second.psn, next);
    }
    requester_->OnTimer(next);
  }
  EXPECT_LE(requester_->stats().timeouts, 5u);
  EXPECT_LE(requester_->stats().retransmitted, 50u);
}

TEST_F(Rules, SilentPeerEndsInRetryExceeded) {
  PostWrite({1, 2, 3}, 0, false, 42);
  for (int i = 0; i < 100 && !requester_->failed(); ++i) {
    TxPacket packet;
    while (requester_->NextPacket(clock_.Now(), &packet)) {
    }
    clock_.Advance(requester_->NextDeadline() - clock_.Now());
    requester_->OnTimer(clock_.Now());
  }
  SendCompletion c;
  ASSERT_TRUE(requester_->NextCompletion(&c));
  EXPECT_EQ(c.wr_id, 42u);
  EXPECT_EQ(c.status, WcStatus::kRetryExceeded);
  EXPECT_EQ(requester_->stats().timeouts, 8u);
}

TEST_F(Rules, MissingReceiveIsWaitedFor) {
  PostWrite({}, 0, true, 6, 0);
  Deliver(Take());
  auto nak = responder_->TakeAck();
  ASSERT_TRUE(nak.has_value());
  EXPECT_EQ(nak->aeth.syndrome, kRnrNak | Responder::kRnrTimerCode);
  requester_->OnNak(nak->aeth.syndrome, nak->psn, clock_.Now());
  TxPacket packet;
  EXPECT_FALSE(requester_->NextPacket(clock_.Now(), &packet));
  responder_->PostRecv({.wr_id = 1});
  Settle();
  ReceiveCompletion c;
  ASSERT_TRUE(responder_->NextCompletion(&c));
  EXPECT_EQ(c.wc.imm, 6u);
}

TEST_F(Rules, WrongKeyIsRemoteAccessError) {
  PostWrite({1}, 0, false, 1, kRkey + 1);
  PostWrite({2}, 0, false, 2);
  Settle();
  SendCompletion c;
  ASSERT_TRUE(requester_->NextCompletion(&c));
  EXPECT_EQ(c.status, WcStatus::kRemoteAccess);
  ASSERT_TRUE(requester_->NextCompletion(&c));
  EXPECT_EQ(c.status, WcStatus::kFlushed);
  EXPECT_EQ(memory_.bytes[0], 0);
}

// anchors C2, rxe b.
TEST_F(Rules, RangeThatWrapsIsRefused) {
  std::vector<uint8_t> data(8);
  PostWrite(data, 0xfffffffffffffff8 - Memory::kBase);
  Settle();
  SendCompletion c;
  ASSERT_TRUE(requester_->NextCompletion(&c));
  EXPECT_EQ(c.status, WcStatus::kRemoteAccess);
}

TEST_F(Rules, LongerSendThanTheReceiveIsRefused) {
  std::vector<uint8_t> buffer(10);
  responder_->PostRecv({5, buffer.data(), 10, 0});
  const std::vector<uint8_t> data(11);
  const Sge sge{data.data(), 11, 0};
  fabric::SendWr wr;
  wr.sg_list = absl::MakeConstSpan(&sge, 1);
  requester_->Post(wr);
  Settle();
  SendCompletion c;
  ASSERT_TRUE(requester_->NextCompletion(&c));
  EXPECT_EQ(c.status, WcStatus::kRemoteInvalid);
  ReceiveCompletion r;
  ASSERT_TRUE(responder_->NextCompletion(&r));
  EXPECT_EQ(r.wc.status, WcStatus::kLocalLength);
}

// A WRITE_LAST that is longer than what its RETH announced, and a MIDDLE out
// of the blue.
TEST_F(Rules, MessageThatBreaksItsOwnHeaderIsRefused) {
  const std::vector<uint8_t> data(kMtu + 10, 1);
  PostWrite(data, 0);
  Flying first = Take();
  first.packet.reth.length = kMtu + 5;
  Deliver(first);
  Deliver(Take());
  auto nak = responder_->TakeAck();
  ASSERT_TRUE(nak.has_value());
  EXPECT_EQ(nak->aeth.syndrome, kNakInvalidRequest);
  EXPECT_TRUE(responder_->failed());

  Reset(5);
  PostWrite(std::vector<uint8_t>(3 * kMtu), 0);
  Take();
  Flying middle = Take();
  middle.packet.bth.psn = 5;
  Deliver(middle);
  nak = responder_->TakeAck();
  ASSERT_TRUE(nak.has_value());
  EXPECT_EQ(nak->aeth.syndrome, kNakInvalidRequest);
}

TEST_F(Rules, ForgedAcknowledgementIsIgnored) {
  PostWrite(std::vector<uint8_t>(10), 0);
  requester_->OnAck(0xFFFFF0, clock_.Now());  // not sent yet
  EXPECT_EQ(requester_->pending(), 1u);
  Take();
  requester_->OnAck(0xFFFFF5, clock_.Now());
  requester_->OnAck(0xFFFFEF, clock_.Now());
  EXPECT_EQ(requester_->pending(), 1u);
}

}  // namespace
}  // namespace rtrs::softroce
