// A peer that numbers its IPv4 packets as Linux does: one counter for a pair of
// addresses, over all its queue pairs, with no regard to trains. roce.md §3.
#include <utility>

#include "rtrs/fabric/softroce/icrc.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/wire/coding.h"
#include "tests/fabric/softroce/harness.h"

namespace rtrs::softroce {
namespace {

using fabric::Bytes;
using fabric::Doorbell;

class CountingPeerTest : public SoftroceTest {
 protected:
  // Packets of the client get the identifications that its kernel would give.
  CountingPeerTest() {
    network_.set_filter([this](const SocketAddress& from,
                               const SocketAddress& to,
                               absl::Span<const uint8_t> datagram) {
      const IcrcSeed seed(from, to);
      if (from.HostString() != "192.0.2.2") return true;
      EXPECT_TRUE(CheckIcrc(seed, datagram, 0).has_value());
      Bytes numbered(datagram.begin(), datagram.end());
      const size_t size = numbered.size() - kIcrcSize;
      wire::PutLe<uint32_t>(&numbered[size],
                            Icrc(seed.Headers(numbered.size(), next_id_++),
                                 absl::MakeConstSpan(numbered).first(size)));
      network_.Inject(from, to, numbered);
      return false;
    });
  }
  // What is sent at the end of the queue pairs goes its usual way.
  ~CountingPeerTest() override { network_.set_filter(nullptr); }

  void Connect() {
    client_->events.clear();
    server_->events.clear();
    Establish();
  }
  void Write(fabric::QueuePair* qp) {
    fabric::SendWr wr;
    wr.opcode = fabric::WrOpcode::kRdmaWrite;
    wr.flags = fabric::kSignaled;
    client_->completions.clear();
    ASSERT_TRUE(qp->PostSend({&wr, 1}, Doorbell::kNow).ok());
    // No time passes that would explain a jump.
    Run(absl::Microseconds(1));
    ASSERT_EQ(client_->completions.size(), 1U);
  }
  void ExpectNothingDropped() {
    for (uint8_t i = 0; i < static_cast<uint8_t>(Drop::kCount); ++i) {
      const auto drop = static_cast<Drop>(i);
      EXPECT_EQ(StatsOf(address_).of(drop), 0U) << DropName(drop);
    }
  }

  uint16_t next_id_ = 30000;
};

TEST_F(CountingPeerTest, AQueuePairThatRestedWhileAnotherWorked) {
  Connect();
  auto resting_client = std::move(client_qp_);
  auto resting_server = std::move(server_qp_);
  Connect();
  Write(resting_client.get());
  for (int i = 0; i < 5000; ++i) Write(client_qp_.get());
  Write(resting_client.get());
  ExpectNothingDropped();
}

TEST_F(CountingPeerTest, TheCounterGoesRound) {
  next_id_ = 65000;
  Connect();
  for (int i = 0; i < 1000; ++i) Write(client_qp_.get());
  ExpectNothingDropped();
}

}  // namespace
}  // namespace rtrs::softroce
