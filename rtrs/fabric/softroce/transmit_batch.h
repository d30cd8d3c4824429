// Packets on their way to the socket: headers and ICRC are made here, runs of
// packets to one peer become trains. roce.md §2, §3, §17.
//
// Payload is referred to, not copied (but for a few bytes), so Send comes
// before anything that could let go of it. One thread at a time.
#ifndef RTRS_FABRIC_SOFTROCE_TRANSMIT_BATCH_H_
#define RTRS_FABRIC_SOFTROCE_TRANSMIT_BATCH_H_

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/fabric/region_table.h"
#include "rtrs/fabric/softroce/datagram_transport.h"
#include "rtrs/fabric/softroce/icrc.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/fabric/work_request.h"

namespace rtrs::softroce {

// One direction to a peer.
struct Flow {
  Flow(const SocketAddress& local, const SocketAddress& peer)
      : to(peer), seed(local, peer) {}
  SocketAddress to;  // with port 4791
  IcrcSeed seed;
  bool trains = true;  // several datagrams in one call get through
};

class TransmitBatch {
 public:
  explicit TransmitBatch(DatagramSocket* socket);

  // Adds a packet: `headers` (BTH and extension headers, the pad count set),
  // then `payload`. `flow` outlives the next Send. Returns its place in its
  // train. Not when full.
  uint32_t Add(const Flow& flow, absl::Span<const uint8_t> headers,
               absl::Span<const fabric::Sge> payload, uint32_t payload_length);
  // Keeps the memory of a payload registered until the next Send.
  void Hold(fabric::MrPin pin) { pins_.push_back(std::move(pin)); }

  bool full() const { return used_ == kPackets; }
  bool empty() const { return used_ == 0; }
  // Sends all. False if the socket cannot send trains (they are lost).
  bool Send();
  uint64_t packets() const { return packets_; }

 private:
  static constexpr size_t kPackets = 128;
  // Payloads up to here are copied behind their headers.
  static constexpr uint32_t kCopyLimit = 64;

  struct Slot {
    // Headers and, behind or after the payload, pad and ICRC.
    std::array<uint8_t, kMaxHeaderSize + kCopyLimit + 3 + kIcrcSize> bytes;
    std::array<uint8_t, 3 + kIcrcSize> trailer;
  };
  struct Train {
    const Flow* flow = nullptr;
    size_t first_part = 0;
    size_t parts = 0;
    size_t segment = 0;
    size_t bytes = 0;
    uint32_t count = 0;
    bool closed = false;  // it ends with a shorter packet
  };
  Train* TrainFor(const Flow& flow, size_t size, size_t parts);

  DatagramSocket* const socket_;
  size_t used_ = 0;
  std::vector<Slot> slots_;
  std::vector<iovec> parts_;
  std::vector<Train> trains_;
  std::vector<TrainOut> out_;
  std::vector<fabric::MrPin> pins_;
  uint64_t packets_ = 0;
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_TRANSMIT_BATCH_H_
