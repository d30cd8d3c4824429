// Packets of an attacker who knows queue pair number, sequence number and key
// of an established connection, sealed with a right ICRC: they may write what
// the key allows, and nothing else, and end the connection at the worst.
//
// Input: records of one byte (which fields are made right), two bytes of
// length, then BTH and what follows it.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "rtrs/base/clock.h"
#include "rtrs/base/log.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/softroce/host.h"
#include "rtrs/fabric/softroce/icrc.h"
#include "rtrs/fabric/softroce/memory_network.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/fabric/softroce/softroce.h"
#include "rtrs/wire/coding.h"
#include "tests/fabric/endpoint.h"
#include "tests/fuzz/fuzz.h"

namespace rtrs::softroce {
namespace {

using fabric::Bytes;
using fabric::CmEvent;

constexpr size_t kGuard = 4096;  // bytes before and behind the region
constexpr size_t kRegion = 8192;

class Victim {
 public:
  Victim() {
    spdlog::set_level(spdlog::level::off);
    network_.set_filter([this](const SocketAddress& from, const SocketAddress&,
                               absl::Span<const uint8_t> datagram) {
      if (from.HostString() == "192.0.2.2" &&
          datagram[0] != static_cast<uint8_t>(Opcode::kUdSendOnly)) {
        qpn_ = wire::GetBe<uint32_t>(datagram.data() + 4) & kPsnMask;
        psn_ = AddPsn(wire::GetBe<uint32_t>(datagram.data() + 8), 1);
      }
      return true;
    });
    client_qp_ = client_.NewQp();
    FUZZ_CHECK(
        client_qp_->Connect(fabric::PathTo(address_), {}, absl::Seconds(9))
            .ok());
    Run();
    server_qp_ = server_.NewQp();
    for (int i = 0; i < 4; ++i) {
      const fabric::RecvWr recv = {0, region(), 512, mr_->lkey()};
      FUZZ_CHECK(server_qp_->PostRecv({&recv, 1}).ok());
    }
    FUZZ_CHECK(
        server_qp_->Accept(std::move(server_.events[0].request), {}).ok());
    Run();
    fabric::SendWr wr;  // an empty write: it shows the numbers
    wr.opcode = fabric::WrOpcode::kRdmaWrite;
    FUZZ_CHECK(client_qp_->PostSend({&wr, 1}, fabric::Doorbell::kNow).ok());
    Run();
    FUZZ_CHECK(qpn_ != 0);
  }

  void Inject(uint8_t right, Bytes packet) {
    if (packet.size() >= kBthSize) {
      if ((right & 1) != 0) {
        wire::PutBe<uint32_t>(&packet[4], qpn_);
      }
      if ((right & 2) != 0) {
        wire::PutBe<uint32_t>(&packet[8], psn_ | 0x80000000);
        psn_ = AddPsn(psn_, 1);
      }
      if ((right & 4) != 0) {
        packet[1] &= 0x30;
        packet[2] = packet[3] = 0xFF;
      }
      if ((right & 8) != 0 && packet.size() >= kBthSize + kRethSize) {
        // The low bytes of the address stay: within, at the edge, outside.
        const uint64_t low = wire::GetBe<uint16_t>(&packet[kBthSize]);
        wire::PutBe<uint64_t>(&packet[kBthSize], mr_->remote_address() + low);
        wire::PutBe<uint32_t>(&packet[kBthSize + 8], mr_->rkey());
      }
      const uint32_t crc =
          Icrc(IcrcSeed(peer_, victim_).Headers(packet.size() + kIcrcSize, 0),
               packet);
      packet.resize(packet.size() + kIcrcSize);
      wire::PutLe<uint32_t>(&packet[packet.size() - kIcrcSize], crc);
    }
    network_.Inject(peer_, victim_, packet);
    Run();
  }

  void Check() {
    const auto untouched = [](uint8_t byte) { return byte == 0xA5; };
    FUZZ_CHECK(
        std::all_of(memory_.begin(), memory_.begin() + kGuard, untouched));
    FUZZ_CHECK(std::all_of(memory_.end() - kGuard, memory_.end(), untouched));
    FUZZ_CHECK(server_.Count(CmEvent::Type::kDisconnected) <= 1);
    FUZZ_CHECK(client_.Count(CmEvent::Type::kDisconnected) <= 1);
  }

 private:
  uint8_t* region() { return memory_.data() + kGuard; }
  void Run() {
    while (client_.Step() || server_.Step()) {
    }
  }

  ManualClock clock_;
  SeededRandom random_{1};
  MemoryNetwork network_{{}, &clock_, &random_};
  Host host_{&network_, &clock_, &random_};
  std::unique_ptr<fabric::Fabric> fabric_ = NewSoftroce({}, &host_);
  fabric::Endpoint client_{fabric_.get()};
  fabric::Endpoint server_{fabric_.get()};
  SocketAddress address_ = *SocketAddress::Parse("192.0.2.1", 1234);
  SocketAddress peer_ = *SocketAddress::Parse("192.0.2.2", kUdpPort);
  SocketAddress victim_ = *SocketAddress::Parse("192.0.2.1", kUdpPort);
  std::unique_ptr<fabric::Listener> listener_ =
      *server_.channel->Listen(address_, 1);
  Bytes memory_ = Bytes(kGuard + kRegion + kGuard, 0xA5);
  std::unique_ptr<fabric::MemoryRegion> mr_ = *server_.pd->RegisterMemory(
      region(), kRegion, fabric::kLocalWrite | fabric::kRemoteWrite);
  std::unique_ptr<fabric::QueuePair> client_qp_, server_qp_;
  uint32_t qpn_ = 0;
  uint32_t psn_ = 0;
};

}  // namespace
}  // namespace rtrs::softroce

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  rtrs::softroce::Victim victim;
  absl::Span<const uint8_t> rest(data, size);
  for (int records = 0; rest.size() >= 3 && records < 16; ++records) {
    const uint8_t right = rest[0];
    const size_t length =
        std::min<size_t>(rest[1] << 8 | rest[2], rest.size() - 3);
    const auto packet = rest.subspan(3, length);
    victim.Inject(right, {packet.begin(), packet.end()});
    rest.remove_prefix(3 + length);
  }
  victim.Check();
  return 0;
}
