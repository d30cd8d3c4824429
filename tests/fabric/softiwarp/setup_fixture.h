// Connections in the making, with a raw peer at one end.
#ifndef TESTS_FABRIC_SOFTIWARP_SETUP_FIXTURE_H_
#define TESTS_FABRIC_SOFTIWARP_SETUP_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>

#include "rtrs/base/errno_status.h"
#include "tests/fabric/softiwarp/raw_peer.h"

namespace rtrs::fabric::softiwarp {

class SetupTest : public RawPeerTest {
 protected:
  explicit SetupTest(SoftiwarpOptions::Crc crc = SoftiwarpOptions::Crc::kOff)
      : RawPeerTest(crc) {}

  // A raw responder for client_qp_; returns the Request.
  Bytes DialedByClient() {
    listener_.reset();
    acceptor_ = *memory_.Listen(address_, 1);
    client_qp_ = client_->NewQp();
    EXPECT_TRUE(
        client_qp_->Connect(PathTo(address_), Counting(56), absl::Seconds(30))
            .ok());
    Run();
    raw_ = std::make_unique<RawPeer>(*acceptor_->Accept());
    Run();
    return raw_->Read();
  }
  static MpaFrame Reply() {
    MpaFrame reply = RequestFrame(false);
    reply.reply = true;
    return reply;
  }
  void ExpectConnectError(int error) {
    Run();
    EXPECT_EQ(client_qp_->state(), QueuePair::State::kError);
    ASSERT_EQ(client_->events.size(), 1U);
    EXPECT_EQ(client_->events[0].type, CmEvent::Type::kConnectError);
    EXPECT_EQ(ErrnoOf(client_->events[0].status), error);
  }
  // `request` is closed without an answer and without an event.
  void ExpectSilentClose(const Bytes& request) {
    raw_ = Dial();
    raw_->Write(request);
    Run();
    EXPECT_EQ(raw_->Read(), Bytes());
    EXPECT_TRUE(raw_->at_end() || raw_->was_reset());
    EXPECT_TRUE(server_->events.empty());
  }
  void AcceptRaw() {
    server_qp_ = server_->NewQp();
    ASSERT_TRUE(server_qp_->Accept(TakeRequest(), Counting(8, 0x80)).ok());
    Run();
  }
  // A raw initiator that sent `request` is accepted.
  void AcceptRaw(const MpaFrame& request) {
    raw_ = Dial();
    raw_->Write(EncodeMpaFrame(request));
    Run();
    AcceptRaw();
  }
  // The initiator's first FPDU, an empty write; returns its header.
  FpduHeader WriteFirstFpdu() {
    FpduHeader write;
    write.tagged = true;
    write.opcode = Opcode::kWrite;
    raw_->Write(Fpdu(write, {}, false));
    Run();
    return write;
  }
  SendWr EmptyWrite(uint32_t imm) {
    SendWr wr;
    wr.opcode = WrOpcode::kRdmaWriteWithImm;
    wr.imm = imm;
    return wr;
  }

  std::unique_ptr<StreamListener> acceptor_;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // TESTS_FABRIC_SOFTIWARP_SETUP_FIXTURE_H_
