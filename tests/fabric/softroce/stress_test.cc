// Data over a network that loses, repeats, reorders, delays and damages, each
// run from a seed: always right, always at an end.
#include <tuple>

#include "tests/fabric/softroce/harness.h"

namespace rtrs::softroce {
namespace {

using fabric::Bytes;
using fabric::CmEvent;
using fabric::Doorbell;
using fabric::RecvWr;
using fabric::SendWr;
using fabric::Sge;
using fabric::WcStatus;
using fabric::WrOpcode;

struct Weather {
  const char* name;
  NetworkFaults faults;
};

const Weather kWeathers[] = {
    {"good", {}},
    {"loss1", {.lose = 10000}},
    {"loss5", {.lose = 50000}},
    {"bursts", {.lose_burst = 3000}},
    {"reorder", {.reorder = 100000}},
    {"repeat", {.repeat = 100000}},
    {"corrupt", {.corrupt = 20000}},
    {"delay", {.lose = 5000, .delay = absl::Milliseconds(20)}},
    {"all",
     {.lose = 20000,
      .lose_burst = 1000,
      .repeat = 20000,
      .reorder = 50000,
      .corrupt = 10000,
      .delay = absl::Microseconds(200)}},
};

class Traffic : public SoftroceTest {
 protected:
  using SoftroceTest::SoftroceTest;

  // Writes with immediate and sends of random sizes both ways, `count` each;
  // the data of each lands in a place of its own and is compared at the end.
  void Exchange(int count) {
    constexpr uint32_t kSlot = 20000;
    struct Side {
      fabric::Endpoint* end;
      fabric::QueuePair* qp;
      Bytes out, in;
      std::unique_ptr<fabric::MemoryRegion> out_mr, in_mr;
      std::vector<uint32_t> sizes;
      std::vector<bool> sends;
      int posted = 0;
    };
    Side sides[2] = {{client_.get(), client_qp_.get(), {}, {}, {}, {}, {}, {}},
                     {server_.get(), server_qp_.get(), {}, {}, {}, {}, {}, {}}};
    const size_t total = static_cast<size_t>(count) * kSlot;
    for (Side& side : sides) {
      side.out.resize(total);
      random_.Fill(absl::MakeSpan(side.out));
      side.in.assign(total, 0);
      side.out_mr = side.end->Register(&side.out, 0);
      side.in_mr = side.end->Register(&side.in);
      side.end->completions.clear();
      for (int i = 0; i < count; ++i) {
        side.sizes.push_back(static_cast<uint32_t>(
            random_.Below(random_.Below(3) == 0 ? kSlot : 200)));
        side.sends.push_back(random_.Below(4) == 0);
      }
    }
    for (int s = 0; s < 2; ++s) {
      Side& from = sides[s];
      Side& to = sides[1 - s];
      for (int i = 0; i < count; ++i) {
        // Receives of sends take their turn with those of immediates.
        const RecvWr recv = {static_cast<uint64_t>(i),
                             &to.in[static_cast<size_t>(i) * kSlot], kSlot,
                             to.in_mr->lkey()};
        ASSERT_TRUE(to.qp->PostRecv({&recv, 1}).ok());
      }
      for (int i = 0; i < count; ++i) {
        const size_t offset = static_cast<size_t>(i) * kSlot;
        const uint32_t size = from.sizes[static_cast<size_t>(i)];
        const Sge sges[2] = {{&from.out[offset], size / 3, from.out_mr->lkey()},
                             {&from.out[offset + size / 3], size - size / 3,
                              from.out_mr->lkey()}};
        SendWr wr;
        wr.wr_id = static_cast<uint64_t>(i);
        wr.opcode = from.sends[static_cast<size_t>(i)]
                        ? WrOpcode::kSendWithImm
                        : WrOpcode::kRdmaWriteWithImm;
        wr.flags = fabric::kSignaled;
        wr.sg_list = sges;
        wr.imm = static_cast<uint32_t>(i);
        wr.remote_address = to.in_mr->remote_address() + offset;
        wr.rkey = to.in_mr->rkey();
        ASSERT_TRUE(from.qp->PostSend({&wr, 1}, Doorbell::kDeferred).ok());
      }
    }
    Run(absl::Minutes(10));
    for (int s = 0; s < 2; ++s) {
      const Side& from = sides[s];
      const Side& to = sides[1 - s];
      int received = 0;
      for (const auto& wc : to.end->completions) {
        ASSERT_EQ(wc.status, WcStatus::kSuccess);
        if (wc.opcode != fabric::WcOpcode::kRecv &&
            wc.opcode != fabric::WcOpcode::kRecvRdmaWithImm) {
          continue;
        }
        ASSERT_EQ(wc.imm, static_cast<uint32_t>(received));
        ASSERT_EQ(wc.byte_len, from.sizes[static_cast<size_t>(received)]);
        ++received;
      }
      ASSERT_EQ(received, count);
      for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
        ASSERT_TRUE(std::equal(
            from.out.begin() + static_cast<long>(i * kSlot),
            from.out.begin() + static_cast<long>(i * kSlot + from.sizes[i]),
            to.in.begin() + static_cast<long>(i * kSlot)))
            << "message " << i;
      }
    }
  }
};

class StressTest
    : public Traffic,
      public ::testing::WithParamInterface<std::tuple<size_t, uint64_t>> {
 protected:
  StressTest()
      : Traffic({.mtu = std::get<1>(GetParam()) % 2 == 0 ? 1500U : 9000U},
                "192.0.2.1", std::get<1>(GetParam())) {}
};

INSTANTIATE_TEST_SUITE_P(
    Seeds, StressTest,
    ::testing::Combine(::testing::Range<size_t>(0, std::size(kWeathers)),
                       ::testing::Range<uint64_t>(1, 11)),
    [](const auto& param) {
      return std::string(kWeathers[std::get<0>(param.param)].name) + "_" +
             std::to_string(std::get<1>(param.param));
    });

TEST_P(StressTest, DataIsRight) {
  Establish();
  network_.set_faults(kWeathers[std::get<0>(GetParam())].faults);
  Exchange(60);
  EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 0);
}

class SmallBufferTest : public Traffic {
 protected:
  SmallBufferTest() : Traffic({.receive_buffer = 64 << 10}) {}
};

TEST_F(SmallBufferTest, WindowStaysWithinIt) {
  Establish();
  Exchange(60);
  EXPECT_EQ(network_.stats().overflowed, 0U);
}

class LostTrainsTest : public Traffic {
 protected:
  LostTrainsTest() : Traffic({.trains_lost = true}) {}
};

TEST_F(LostTrainsTest, AreNoticedAndNotSentAnyMore) {
  Establish();
  Exchange(60);
  const NetworkStats before = network_.stats();
  Exchange(60);
  // Once it is clear, nothing is lost and so nothing repeated.
  EXPECT_LT(network_.stats().sent - before.sent, 2500U);
}

class RefusedTrainsTest : public Traffic {
 protected:
  RefusedTrainsTest() : Traffic({.trains_refused = true}) {}
};

TEST_F(RefusedTrainsTest, PacketsGoOneByOne) {
  Establish();
  Exchange(60);
}

}  // namespace
}  // namespace rtrs::softroce
