// What an attacker on the network can send: it is dropped and counted, and
// the connections of others go on. roce.md §13; the lists of known attacks on
// RDMA devices: short packets, forged pad counts, unknown opcodes, multicast
// queue pairs, wrapping addresses, wrong sources, keys and sequence numbers.
#include <cstring>

#include "rtrs/fabric/softroce/cm_messages.h"
#include "rtrs/fabric/softroce/gid.h"
#include "rtrs/fabric/softroce/icrc.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/wire/coding.h"
#include "tests/fabric/softroce/harness.h"

namespace rtrs::softroce {
namespace {

using fabric::Bytes;
using fabric::CmEvent;
using fabric::Counting;
using fabric::Doorbell;
using fabric::WcStatus;

class HostileTest : public SoftroceTest {
 protected:
  // Learns queue pair numbers and sequence numbers as one who reads the wire;
  // the tests decide which of them the attacker knows.
  void SetUp() override {
    network_.set_filter([this](const SocketAddress& from, const SocketAddress&,
                               absl::Span<const uint8_t> datagram) {
      Packet packet;
      if (Parse(datagram, &packet) != ParseError::kNone) return true;
      if (packet.bth.dest_qpn == kGsiQpn) return true;
      if (from.HostString() == "192.0.2.2") {
        server_qpn_ = packet.bth.dest_qpn;
        if (!packet.info->Has(OpcodeInfo::kAeth)) {
          next_psn_ = AddPsn(packet.bth.psn, 1);
        }
      } else {
        client_qpn_ = packet.bth.dest_qpn;
      }
      return true;
    });
    Establish();
    target_.assign(4096, 0);
    target_mr_ = server_->Register(&target_);
    source_ = Counting(4096, 1);
    source_mr_ = client_->Register(&source_, 0);
    Write();
    attacker_ = *SocketAddress::Parse("192.0.2.66", kUdpPort);
    peer_ = *SocketAddress::Parse("192.0.2.2", kUdpPort);
    server_udp_ = *SocketAddress::Parse("192.0.2.1", kUdpPort);
    client_->completions.clear();
  }

  // The rightful client writes, which must always work.
  void Write() {
    target_.assign(4096, 0);
    const fabric::Sge sge = {source_.data(), 4096, source_mr_->lkey()};
    fabric::SendWr wr;
    wr.opcode = fabric::WrOpcode::kRdmaWrite;
    wr.flags = fabric::kSignaled;
    wr.sg_list = {&sge, 1};
    wr.remote_address = target_mr_->remote_address();
    wr.rkey = target_mr_->rkey();
    ASSERT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).ok());
    Run();
    ASSERT_EQ(target_, source_);
    ASSERT_EQ(client_->completions.back().status, WcStatus::kSuccess);
  }
  void ExpectUndisturbed() {
    Run();
    Write();
    EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 0);
    EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 0);
  }

  // Ends `packet` with the ICRC that it has from `from`.
  Bytes Seal(Bytes packet, const SocketAddress& from) {
    const uint32_t crc =
        Icrc(IcrcSeed(from, server_udp_).Headers(packet.size() + 4, 0), packet);
    packet.resize(packet.size() + 4);
    wire::PutLe<uint32_t>(packet.data() + packet.size() - 4, crc);
    return packet;
  }
  Bytes WritePacket(uint32_t qpn, uint32_t psn, uint64_t address, uint32_t rkey,
                    uint32_t length, size_t payload) {
    Bytes packet(kBthSize + kRethSize + payload, 0x5A);
    Bth bth;
    bth.opcode = static_cast<uint8_t>(Opcode::kWriteOnly);
    bth.dest_qpn = qpn;
    bth.psn = psn;
    bth.ack_request = true;
    EncodeReth({address, rkey, length}, EncodeBth(bth, packet.data()));
    return packet;
  }
  uint64_t Dropped(Drop drop) { return StatsOf(address_).of(drop); }
  void Attack(const Bytes& datagram, const SocketAddress& from) {
    network_.Inject(from, server_udp_, datagram);
  }

  uint32_t server_qpn_ = 0;
  uint32_t client_qpn_ = 0;
  uint32_t next_psn_ = 0;
  Bytes target_, source_;
  std::unique_ptr<fabric::MemoryRegion> target_mr_, source_mr_;
  SocketAddress attacker_, peer_, server_udp_;
};

TEST_F(HostileTest, ShortPacketsOfAnyLength) {
  for (size_t size = 1; size < kBthSize + kRethSize + kIcrcSize; ++size) {
    Bytes packet = WritePacket(server_qpn_, next_psn_, 0, 0, 0, 0);
    packet.resize(size);
    Attack(packet, peer_);
  }
  ExpectUndisturbed();
  EXPECT_EQ(Dropped(Drop::kMalformed), kBthSize + kRethSize + kIcrcSize - 1);
}

TEST_F(HostileTest, ForgedPadCount) {
  Bytes packet = WritePacket(server_qpn_, next_psn_, 0, 0, 0, 0);
  packet[1] |= 0x30;
  Attack(Seal(packet, peer_), peer_);
  ExpectUndisturbed();
  EXPECT_EQ(Dropped(Drop::kMalformed), 1U);
}

TEST_F(HostileTest, UnknownOpcodes) {
  uint64_t unknown = 0;
  for (int opcode = 0; opcode < 256; ++opcode) {
    if (FindOpcode(static_cast<uint8_t>(opcode)) != nullptr) continue;
    Bytes packet = WritePacket(server_qpn_, next_psn_, 0, 0, 0, 64);
    packet[0] = static_cast<uint8_t>(opcode);
    Attack(Seal(packet, peer_), peer_);
    ++unknown;
  }
  ExpectUndisturbed();
  EXPECT_GT(unknown, 200U);
  EXPECT_EQ(Dropped(Drop::kMalformed), unknown);
}

TEST_F(HostileTest, MulticastQueuePair) {
  Attack(Seal(WritePacket(kMulticastQpn, 0, 0, 0, 0, 0), peer_), peer_);
  ExpectUndisturbed();
  EXPECT_EQ(Dropped(Drop::kMalformed), 1U);
}

TEST_F(HostileTest, GuessedQueuePairs) {
  for (uint32_t qpn = 2; qpn < 1000; ++qpn) {
    if (qpn == server_qpn_) continue;
    Attack(Seal(WritePacket(qpn, 0, 0, 0, 0, 0), attacker_), attacker_);
  }
  ExpectUndisturbed();
  EXPECT_GE(Dropped(Drop::kUnknownQpn), 990U);
}

TEST_F(HostileTest, EverythingRightButTheSource) {
  Attack(Seal(WritePacket(server_qpn_, next_psn_, target_mr_->remote_address(),
                          target_mr_->rkey(), 8, 8),
              attacker_),
         attacker_);
  Run();
  EXPECT_EQ(target_, source_);
  ExpectUndisturbed();
  EXPECT_EQ(Dropped(Drop::kWrongSource), 1U);
}

TEST_F(HostileTest, WrongChecksum) {
  Bytes packet =
      Seal(WritePacket(server_qpn_, next_psn_, target_mr_->remote_address(),
                       target_mr_->rkey(), 8, 8),
           peer_);
  for (size_t i = kBthSize; i < packet.size(); ++i) {
    Bytes damaged = packet;
    damaged[i] ^= 0x10;
    damaged[i - 1] ^= 0x01;
    Attack(damaged, peer_);
  }
  ExpectUndisturbed();
  EXPECT_EQ(Dropped(Drop::kDamaged), packet.size() - kBthSize);
}

TEST_F(HostileTest, GuessedSequenceNumbersAreRepeatsOrGaps) {
  // A whole sweep needs 2^24; what matters is that none but one is executed.
  for (uint32_t i = 2; i < 2000; ++i) {
    Attack(Seal(WritePacket(server_qpn_, AddPsn(next_psn_, i * 7919),
                            target_mr_->remote_address(), target_mr_->rkey(), 8,
                            8),
                peer_),
           peer_);
  }
  Run();
  EXPECT_EQ(target_, source_);
  ExpectUndisturbed();
}

TEST_F(HostileTest, WrappingAddressEndsOnlyThisConnection) {
  Attack(Seal(WritePacket(server_qpn_, next_psn_, 0xFFFFFFFFFFFFFFF8,
                          target_mr_->rkey(), 8, 8),
              peer_),
         peer_);
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(target_, source_);
}

TEST_F(HostileTest, LengthBeyondTheRegion) {
  Attack(Seal(WritePacket(server_qpn_, next_psn_,
                          target_mr_->remote_address() + 4092,
                          target_mr_->rkey(), 8, 8),
              peer_),
         peer_);
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(target_, source_);
}

TEST_F(HostileTest, PayloadLongerThanAnnounced) {
  Attack(Seal(WritePacket(server_qpn_, next_psn_, target_mr_->remote_address(),
                          target_mr_->rkey(), 4, 8),
              peer_),
         peer_);
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(target_, source_);
}

TEST_F(HostileTest, KeyOfAnotherDomain) {
  // What the attacker's own connection would give it: a key of its session.
  auto foreign = *fabric_->AllocPd();
  Bytes secret(64, 0x77);
  auto mr = *foreign->RegisterMemory(secret.data(), secret.size(),
                                     fabric::kRemoteWrite);
  Attack(Seal(WritePacket(server_qpn_, next_psn_, mr->remote_address(),
                          mr->rkey(), 8, 8),
              peer_),
         peer_);
  Run();
  EXPECT_EQ(secret, Bytes(64, 0x77));
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
}

class ReadOrAtomicTest : public HostileTest,
                         public ::testing::WithParamInterface<Opcode> {};

INSTANTIATE_TEST_SUITE_P(All, ReadOrAtomicTest,
                         ::testing::Values(Opcode::kReadRequest,
                                           Opcode::kCompareSwap,
                                           Opcode::kFetchAdd));

TEST_P(ReadOrAtomicTest, EndsOnlyThisConnection) {
  Bytes packet =
      WritePacket(server_qpn_, next_psn_, target_mr_->remote_address(),
                  target_mr_->rkey(), 64, 12);
  packet[0] = static_cast<uint8_t>(GetParam());
  Attack(Seal(packet, peer_), peer_);
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(target_, source_);
}

TEST_F(HostileTest, AcknowledgementsOfWhatWasNeverSent) {
  for (uint32_t i = 0; i < 100; ++i) {
    Bytes packet(kBthSize + kAethSize);
    Bth bth;
    bth.opcode = static_cast<uint8_t>(Opcode::kAck);
    bth.dest_qpn = server_qpn_;
    bth.psn = random_.Uint32() & kPsnMask;
    const auto syndrome =
        static_cast<uint8_t>(i % 3 == 0 ? kAckSyndrome : 0x60 + i % 4);
    EncodeAeth({syndrome, i}, EncodeBth(bth, packet.data()));
    Attack(Seal(packet, peer_), peer_);
  }
  ExpectUndisturbed();
}

TEST_F(HostileTest, ManagementDatagramsOfGarbage) {
  for (int i = 0; i < 500; ++i) {
    Bytes packet(kBthSize + kDethSize + kMadSize);
    random_.Fill(absl::MakeSpan(packet));
    Bth bth;
    bth.opcode = static_cast<uint8_t>(Opcode::kUdSendOnly);
    bth.dest_qpn = kGsiQpn;
    EncodeDeth({kGsiQkey, kGsiQpn}, EncodeBth(bth, packet.data()));
    Attack(Seal(packet, attacker_), attacker_);
  }
  ExpectUndisturbed();
  EXPECT_EQ(Dropped(Drop::kManagement), 500U);
}

TEST_F(HostileTest, ManagementDatagramsOfAnyLength) {
  constexpr size_t kLongest = 1024;
  for (size_t size = 0; size <= kLongest; ++size) {
    Bytes packet(kBthSize + kDethSize + size);
    Bth bth;
    bth.opcode = static_cast<uint8_t>(Opcode::kUdSendOnly);
    bth.dest_qpn = kGsiQpn;
    EncodeDeth({kGsiQkey, kGsiQpn}, EncodeBth(bth, packet.data()));
    Attack(Seal(packet, attacker_), attacker_);
  }
  ExpectUndisturbed();
  EXPECT_EQ(Dropped(Drop::kManagement), kLongest + 1);
}

TEST_F(HostileTest, DisconnectRequestsFromElsewhere) {
  // Every connection's number is tried, but not from the peer's address.
  CmDatagram datagram;
  Bytes packet(kBthSize + kDethSize + kMadSize);
  Bth bth;
  bth.opcode = static_cast<uint8_t>(Opcode::kUdSendOnly);
  bth.dest_qpn = kGsiQpn;
  EncodeDeth({kGsiQkey, kGsiQpn}, EncodeBth(bth, packet.data()));
  for (uint32_t i = 0; i < 100; ++i) {
    datagram.message = CmDreq{i, i, server_qpn_};
    const Mad mad = EncodeCm(datagram);
    std::memcpy(packet.data() + kBthSize + kDethSize, mad.data(), kMadSize);
    Attack(Seal(packet, attacker_), attacker_);
  }
  ExpectUndisturbed();
}

TEST_F(HostileTest, FloodOfRequestsIsLimited) {
  Bytes packet(kBthSize + kDethSize + kMadSize);
  Bth bth;
  bth.opcode = static_cast<uint8_t>(Opcode::kUdSendOnly);
  bth.dest_qpn = kGsiQpn;
  EncodeDeth({kGsiQkey, kGsiQpn}, EncodeBth(bth, packet.data()));
  for (uint32_t i = 1; i <= 3000; ++i) {
    CmReq req;
    req.local_comm_id = i;
    req.service_id = ServiceId(1234);
    req.qpn = 100 + i;
    req.local_gid = GidOf(attacker_);
    req.remote_gid = GidOf(server_udp_);
    const Mad mad = EncodeCm({i, req});
    std::memcpy(packet.data() + kBthSize + kDethSize, mad.data(), kMadSize);
    Attack(Seal(packet, attacker_), attacker_);
    if (i % 64 == 0) StepAll();
  }
  Run();
  EXPECT_EQ(server_->Count(CmEvent::Type::kConnectRequest),
            static_cast<int>(CmAgent::kMaxPending));
  ExpectUndisturbed();
}

}  // namespace
}  // namespace rtrs::softroce
