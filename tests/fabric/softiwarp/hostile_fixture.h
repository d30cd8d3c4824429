// A raw peer that sends frames of its own making to an established connection,
// with CRCs and without.
#ifndef TESTS_FABRIC_SOFTIWARP_HOSTILE_FIXTURE_H_
#define TESTS_FABRIC_SOFTIWARP_HOSTILE_FIXTURE_H_

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>

#include "rtrs/base/errno_status.h"
#include "tests/fabric/softiwarp/raw_peer.h"

namespace rtrs::fabric::softiwarp {

class HostileTest : public RawPeerTest,
                    public ::testing::WithParamInterface<bool> {
 protected:
  bool crc() const { return GetParam(); }

  void SetUp() override {
    EstablishRaw(crc());
    memory_bytes_.assign(4096, 0);
    mr_ = server_->Register(&memory_bytes_);
    for (uint64_t i = 0; i < 8; ++i) {
      const RecvWr recv = {i, memory_bytes_.data() + i * 16, 16, mr_->lkey()};
      ASSERT_TRUE(server_qp_->PostRecv({&recv, 1}).ok());
    }
  }

  FpduHeader Send(uint32_t msn = 1) const {
    FpduHeader header;
    header.opcode = Opcode::kSend;
    header.msn = msn;
    return header;
  }
  FpduHeader Immediate(uint32_t msn = 1) const {
    FpduHeader header = Send(msn);
    header.opcode = Opcode::kImmediate;
    return header;
  }
  FpduHeader Write(size_t at = 1024) const {
    FpduHeader header;
    header.tagged = true;
    header.opcode = Opcode::kWrite;
    header.stag = mr_->rkey();
    header.offset = mr_->remote_address() + at;
    return header;
  }
  Bytes Frame(const FpduHeader& header, const Bytes& payload) const {
    return Fpdu(header, payload, crc());
  }
  // A frame with one byte changed before the CRC was computed.
  Bytes Changed(const FpduHeader& header, const Bytes& payload, size_t at,
                const std::function<uint8_t(uint8_t)>& change) const {
    Bytes frame = Frame(header, payload);
    frame[at] = change(frame[at]);
    return crc() ? WithCrc(frame) : frame;
  }

  // `bytes` make the server terminate with `code`; its Terminate carries the
  // header of `offender`, or none.
  void ExpectTerminate(const Bytes& bytes, TerminateCode code,
                       const std::optional<Bytes>& offender) {
    raw_->Write(bytes);
    Run();
    Bytes header;
    if (offender) {
      header.assign(offender->begin(),
                    offender->begin() + ((*offender)[2] & 0x80 ? 16 : 20));
    }
    EXPECT_EQ(raw_->Read(), TerminateFpdu(code, header, crc()));
    EXPECT_TRUE(raw_->at_end());
    EXPECT_EQ(server_qp_->state(), QueuePair::State::kError);
    ASSERT_EQ(server_->events.size(), 1U);
    EXPECT_EQ(server_->events[0].type, CmEvent::Type::kDisconnected);
    EXPECT_EQ(ErrnoOf(server_->events[0].status), EPROTO);
    raw_->Close();
    Run();
  }
  void ExpectTerminate(const Bytes& bytes, TerminateCode code) {
    ExpectTerminate(bytes, code, bytes);
  }
  void ExpectFine(const Bytes& bytes) {
    raw_->Write(bytes);
    Run();
    EXPECT_EQ(raw_->Read(), Bytes());
    EXPECT_FALSE(raw_->at_end());
    EXPECT_EQ(server_qp_->state(), QueuePair::State::kEstablished);
  }
  size_t Successes() const {
    size_t n = 0;
    for (const WorkCompletion& wc : server_->completions) {
      n += wc.status == WcStatus::kSuccess;
    }
    return n;
  }
  bool Untouched() const { return memory_bytes_ == Bytes(4096); }

  Bytes memory_bytes_;
  std::unique_ptr<MemoryRegion> mr_;
};

}  // namespace rtrs::fabric::softiwarp

#endif  // TESTS_FABRIC_SOFTIWARP_HOSTILE_FIXTURE_H_
