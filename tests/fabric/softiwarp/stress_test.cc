// Random work over a network with random faults: what succeeds is right, what
// fails ends, and a seed repeats a run exactly.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "rtrs/fabric/softiwarp/crc32c.h"
#include "tests/fabric/softiwarp/harness.h"

namespace rtrs::fabric {
namespace {

constexpr size_t kSlots = 16;
constexpr size_t kSlotSize = 100000;

// One connection under load from the client: writes with immediate into slots
// of the server, which checks them and answers.
class Load : public SoftiwarpTest {
 public:
  Load(uint64_t seed, const FaultPlan& plan)
      : SoftiwarpTest(SoftiwarpOptions::Crc::kOn,
                      MemoryTransport::Options{.capacity = 70000}, seed),
        plan_(plan),
        source_(kSlots * kSlotSize),
        target_(kSlots * kSlotSize) {
    random_.Fill(absl::MakeSpan(source_));
    source_mr_ = client_->Register(&source_, 0);
    target_mr_ = server_->Register(&target_);
  }
  void TestBody() override {}

  // Runs `rounds` and returns a digest of everything that was seen.
  uint32_t Go(int rounds) {
    faults_.set_plan(plan_);
    for (int round = 0; round < rounds && !HasFailure(); ++round) {
      if (client_qp_ == nullptr) Reconnect();
      if (up_) PostSome();
      client_->Step();
      server_->Step();
      clock_.Advance(absl::Microseconds(random_.Below(3000)));
      Look();
    }
    return digest_.value();
  }

  uint64_t delivered() const { return delivered_; }
  uint64_t connections() const { return connections_; }
  uint64_t faults() const { return faults_.faults(); }

 private:
  struct Posted {
    size_t slot;
    uint32_t length;
  };

  void Reconnect() {
    up_ = false;
    ++connections_;
    server_qp_.reset();
    client_->completions.clear();
    server_->completions.clear();
    client_->events.clear();
    server_->events.clear();
    in_flight_.clear();
    answers_ = 0;
    std::fill(target_.begin(), target_.end(), 0);
    client_qp_ = client_->NewQp();
    const std::vector<RecvWr> recvs(kSlots);
    ASSERT_TRUE(client_qp_->PostRecv(recvs).ok());
    ASSERT_TRUE(
        client_qp_->Connect(PathTo(address_), {}, absl::Seconds(2)).ok());
  }

  void PostSome() {
    while (in_flight_.size() < kSlots && random_.Below(3) != 0) {
      const size_t slot = next_slot_++ % kSlots;
      // Not a slot whose answer is outstanding.
      for (const Posted& p : in_flight_) {
        if (p.slot == slot) return;
      }
      const auto length = static_cast<uint32_t>(
          random_.Below(random_.Below(4) == 0 ? kSlotSize : 600));
      const Sge sge = {&source_[slot * kSlotSize], length, source_mr_->lkey()};
      SendWr wr;
      wr.opcode = WrOpcode::kRdmaWriteWithImm;
      wr.flags = kSignaled;
      if (length > 0) wr.sg_list = {&sge, 1};
      wr.imm = static_cast<uint32_t>(slot);
      wr.rkey = target_mr_->rkey();
      wr.remote_address = target_mr_->remote_address() + slot * kSlotSize;
      if (!client_qp_->PostSend({&wr, 1}, Doorbell::kDeferred).ok()) return;
      in_flight_.push_back({slot, length});
    }
  }

  void Note(uint64_t value) { digest_.Add(&value, sizeof(value)); }

  void Look() {
    for (CmEvent& event : server_->events) {
      Note(static_cast<uint64_t>(event.type));
      if (event.type != CmEvent::Type::kConnectRequest) continue;
      server_qp_ = server_->NewQp();
      const std::vector<RecvWr> recvs(2 * kSlots);
      ASSERT_TRUE(server_qp_->PostRecv(recvs).ok());
      ASSERT_TRUE(server_qp_->Accept(std::move(event.request), {}).ok());
      delivered_here_ = 0;
    }
    server_->events.clear();
    for (const WorkCompletion& wc : server_->completions) {
      if (wc.status != WcStatus::kSuccess ||
          wc.opcode != WcOpcode::kRecvRdmaWithImm) {
        continue;
      }
      ASSERT_LT(delivered_here_, in_flight_.size() + answers_);
      const Posted& posted = in_flight_[delivered_here_ - answers_];
      ASSERT_EQ(wc.imm, posted.slot);
      ASSERT_EQ(wc.byte_len, posted.length);
      const auto at = static_cast<ssize_t>(posted.slot * kSlotSize);
      ASSERT_TRUE(std::equal(target_.begin() + at,
                             target_.begin() + at + posted.length,
                             source_.begin() + at));
      ++delivered_here_;
      ++delivered_;
      Note(wc.imm);
      const RecvWr recv;
      ASSERT_TRUE(server_qp_->PostRecv({&recv, 1}).ok());
      SendWr answer;
      answer.opcode = WrOpcode::kRdmaWriteWithImm;
      answer.flags = kSignaled;
      answer.imm = wc.imm;
      ASSERT_TRUE(server_qp_->PostSend({&answer, 1}, Doorbell::kDeferred).ok());
    }
    server_->completions.clear();
    for (const WorkCompletion& wc : client_->completions) {
      if (wc.status != WcStatus::kSuccess ||
          wc.opcode != WcOpcode::kRecvRdmaWithImm) {
        continue;
      }
      ASSERT_EQ(wc.imm, in_flight_.front().slot);
      in_flight_.pop_front();
      ++answers_;
      const RecvWr recv;
      ASSERT_TRUE(client_qp_->PostRecv({&recv, 1}).ok());
    }
    client_->completions.clear();
    for (const CmEvent& event : client_->events) {
      Note(static_cast<uint64_t>(event.type));
      if (event.type == CmEvent::Type::kEstablished) {
        up_ = true;
      } else {
        client_qp_.reset();
        break;
      }
    }
    client_->events.clear();
  }

  FaultPlan plan_;
  Bytes source_, target_;
  std::unique_ptr<MemoryRegion> source_mr_, target_mr_;
  bool up_ = false;
  size_t next_slot_ = 0;
  std::deque<Posted> in_flight_;  // not answered, oldest first
  size_t delivered_here_ = 0;     // on this connection
  size_t answers_ = 0;            // on this connection
  uint64_t delivered_ = 0;
  uint64_t connections_ = 0;
  softiwarp::Crc32c digest_;
};

TEST(StressTest, SplitsAndDelaysLoseNothing) {
  FaultPlan plan;
  plan.split = 400000;
  plan.delay = 50000;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Load load(seed, plan);
    load.Go(3000);
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
    EXPECT_EQ(load.connections(), 1U);
    EXPECT_GT(load.delivered(), 500U);
    EXPECT_GT(load.faults(), 500U);
  }
}

TEST(StressTest, CutsCorruptionAndRefusalsEndConnectionsOnly) {
  FaultPlan plan;
  plan.split = 200000;
  plan.delay = 20000;
  plan.corrupt = 1000;
  plan.cut = 500;
  plan.refuse = 100000;
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Load load(seed, plan);
    load.Go(5000);
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
    EXPECT_GT(load.connections(), 3U);
    EXPECT_GT(load.delivered(), 300U);
  }
}

TEST(StressTest, ASeedRepeatsExactly) {
  FaultPlan plan;
  plan.split = 200000;
  plan.delay = 20000;
  plan.corrupt = 1000;
  plan.cut = 500;
  Load first(77, plan);
  Load again(77, plan);
  Load other(78, plan);
  const uint32_t digest = first.Go(3000);
  EXPECT_EQ(again.Go(3000), digest);
  EXPECT_EQ(again.delivered(), first.delivered());
  EXPECT_EQ(again.faults(), first.faults());
  EXPECT_NE(other.Go(3000), digest);
}

}  // namespace
}  // namespace rtrs::fabric
