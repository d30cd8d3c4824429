// Requester and Responder joined by a link that loses, repeats and reorders,
// everything from a seed.
#ifndef TESTS_FABRIC_SOFTROCE_RELIABILITY_FIXTURE_H_
#define TESTS_FABRIC_SOFTROCE_RELIABILITY_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <vector>

#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/softroce/requester.h"
#include "rtrs/fabric/softroce/responder.h"

namespace rtrs::softroce {

inline constexpr uint32_t kMtu = 256;
inline constexpr uint32_t kRkey = 0x1234;

// One region, addresses from kBase.
class Memory : public RemoteMemory {
 public:
  static constexpr uint64_t kBase = 0x10000;
  explicit Memory(size_t size) : bytes(size) {}
  bool MayWrite(uint32_t rkey, uint64_t address, uint64_t length) override {
    return rkey == kRkey && address >= kBase && length <= bytes.size() &&
           address - kBase <= bytes.size() - length;
  }
  bool Write(uint32_t rkey, uint64_t address,
             absl::Span<const uint8_t> data) override {
    if (!MayWrite(rkey, address, data.size())) return false;
    std::copy(data.begin(), data.end(),
              bytes.begin() + static_cast<long>(address - kBase));
    return true;
  }
  bool WriteReceive(uint32_t /*lkey*/, uint8_t* address,
                    absl::Span<const uint8_t> data) override {
    std::copy(data.begin(), data.end(), address);
    return true;
  }
  bool Invalidate(uint32_t rkey) override { return rkey == 0x77; }

  std::vector<uint8_t> bytes;
};

// A packet as it travels: payload copied out of the sender's memory.
struct Flying {
  TxPacket packet;
  std::vector<uint8_t> payload;

  Packet Received() const {
    Packet p;
    p.bth = packet.bth;
    p.info = packet.info;
    p.reth = packet.reth;
    p.imm = packet.imm;
    p.invalidate_rkey = packet.invalidate_rkey;
    p.payload = payload;
    return p;
  }
};

class Reliability : public testing::TestWithParam<uint64_t> {
 protected:
  Reliability() { Reset(0xFFFFF0); }

  void Reset(uint32_t first_psn) {
    options_.first_psn = first_psn;
    options_.dest_qpn = 17;
    options_.mtu = kMtu;
    requester_ = std::make_unique<Requester>(options_);
    responder_ = std::make_unique<Responder>(first_psn, kMtu, &memory_);
  }
  Flying Take() {
    Flying f;
    EXPECT_TRUE(requester_->NextPacket(clock_.Now(), &f.packet));
    Copy(&f);
    return f;
  }
  static void Copy(Flying* f) {
    for (const fabric::Sge& sge : f->packet.payload) {
      f->payload.insert(f->payload.end(), sge.address,
                        sge.address + sge.length);
    }
    f->packet.payload = {};
  }
  void Deliver(const Flying& f) { responder_->OnPacket(f.Received()); }
  void Answer() {
    const auto ack = responder_->TakeAck();
    if (!ack.has_value()) return;
    if (ack->aeth.syndrome == kAckSyndrome) {
      requester_->OnAck(ack->psn, clock_.Now());
    } else {
      requester_->OnNak(ack->aeth.syndrome, ack->psn, clock_.Now());
    }
  }
  // Everything that can be sent, delivered and answered without loss.
  void Settle() {
    for (int i = 0; i < 1000; ++i) {
      TxPacket packet;
      if (!requester_->NextPacket(clock_.Now(), &packet)) {
        if (requester_->idle() || requester_->failed()) return;
        clock_.Advance(requester_->NextDeadline() - clock_.Now());
        requester_->OnTimer(clock_.Now());
        continue;
      }
      Flying f{packet, {}};
      Copy(&f);
      Deliver(f);
      Answer();
    }
    FAIL() << "it does not come to rest";
  }
  void PostWrite(const std::vector<uint8_t>& data, uint64_t offset,
                 bool imm = false, uint64_t wr_id = 1, uint32_t rkey = kRkey) {
    // Posted memory stays as it is until the request completes.
    const std::vector<uint8_t>& posted = posted_.emplace_back(data);
    const fabric::Sge sge{posted.data(), static_cast<uint32_t>(posted.size()),
                          0};
    fabric::SendWr wr;
    wr.wr_id = wr_id;
    wr.opcode = imm ? fabric::WrOpcode::kRdmaWriteWithImm
                    : fabric::WrOpcode::kRdmaWrite;
    wr.flags = fabric::kSignaled;
    wr.imm = static_cast<uint32_t>(wr_id);
    wr.sg_list = absl::MakeConstSpan(&sge, 1);
    wr.remote_address = Memory::kBase + offset;
    wr.rkey = rkey;
    requester_->Post(wr);
  }

  ManualClock clock_;
  RequesterOptions options_;
  Memory memory_{1 << 20};
  std::deque<std::vector<uint8_t>> posted_;
  std::unique_ptr<Requester> requester_;
  std::unique_ptr<Responder> responder_;
};

}  // namespace rtrs::softroce

#endif  // TESTS_FABRIC_SOFTROCE_RELIABILITY_FIXTURE_H_
