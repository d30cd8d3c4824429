// The engine of one local address: its socket, the queue pairs by number, and
// the connection manager. roce.md §13, §17.
//
// Packets are taken in batches. Each is checked from the outside in: shape,
// queue pair, source address, ICRC; whatever fails is dropped and counted, as
// the standard wants. When a batch is through, each queue pair that got
// something moves on once, and owes one acknowledgement at most, which leaves
// with the next data if that comes soon. Called with the Host's mutex held.
#ifndef RTRS_FABRIC_SOFTROCE_ENGINE_H_
#define RTRS_FABRIC_SOFTROCE_ENGINE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/node_hash_map.h"
#include "absl/time/time.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/fabric/softroce/cm_agent.h"
#include "rtrs/fabric/softroce/datagram_transport.h"
#include "rtrs/fabric/softroce/host.h"
#include "rtrs/fabric/softroce/id_sequence.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/fabric/softroce/transmit_batch.h"

namespace rtrs::softroce {

class Qp;

// Why packets were dropped.
enum class Drop : uint8_t {
  kMalformed,    // Parse says how
  kUnknownQpn,   // nobody has this queue pair, or not any more
  kWrongSource,  // not from the peer of the queue pair
  kDamaged,      // the ICRC is wrong
  kUnexpected,   // the queue pair is not connected
  kManagement,   // a connection manager's message that makes no sense
  kCount,
};
const char* DropName(Drop drop);

struct EngineStats {
  uint64_t received = 0;
  std::array<uint64_t, static_cast<size_t>(Drop::kCount)> dropped{};
  uint64_t of(Drop drop) const { return dropped[static_cast<size_t>(drop)]; }
};

class Engine {
 public:
  Engine(Host* host, std::unique_ptr<DatagramSocket> socket);

  Host* host() const { return host_; }
  DatagramSocket* socket() const { return socket_.get(); }
  const SocketAddress& local_address() const {
    return socket_->local_address();
  }
  CmAgent* cm() { return &cm_; }
  TransmitBatch* batch() { return &batch_; }

  // A random queue pair number for `qp`, until Release. Silence makes it dead:
  // packets to it are dropped, but it is not given to others.
  uint32_t Reserve(Qp* qp);
  void Silence(uint32_t qpn);
  void Release(uint32_t qpn);

  // Receives and handles what is there; true if there was anything.
  bool Poll(absl::Time now);
  // Sends what is in the batch, and the acknowledgements that are due.
  void Send(bool acks);
  // `qp` owes an acknowledgement.
  void AddAck(Qp* qp) { owing_.push_back(qp); }
  void Forget(Qp* qp);
  // A queue pair to `peer` comes, and goes; between them the result is valid.
  IdSequence* Join(const SocketAddress& peer);
  void Part(const SocketAddress& peer);

  // Path MTU of InfiniBand (256 to 4096) for the route to `peer`. §12.5.
  uint32_t PathMtu(const SocketAddress& peer) const;
  // Packets of `mtu` bytes that the socket's buffer takes: the window of a
  // peer that has no larger one.
  uint32_t Window(uint32_t mtu) const;
  // Whether the kernel sends trains.
  bool trains() const { return trains_; }

  void Count(Drop drop, const SocketAddress& from);
  const EngineStats& stats() const { return stats_; }
  absl::Time NextDeadline() const { return cm_.NextDeadline(); }

 private:
  struct Peer {
    IdSequence ids;
    uint32_t queue_pairs = 0;
  };

  void OnDatagram(const SocketAddress& from, absl::Span<const uint8_t> datagram,
                  uint32_t place, absl::Time now);
  void OnManagement(const SocketAddress& from,
                    absl::Span<const uint8_t> datagram, const Packet& packet,
                    absl::Time now);

  Host* const host_;
  const std::unique_ptr<DatagramSocket> socket_;
  TransmitBatch batch_;
  CmAgent cm_;
  absl::flat_hash_map<uint32_t, Qp*> qps_;        // nullptr: silenced
  absl::node_hash_map<std::string, Peer> peers_;  // by address
  std::vector<Qp*> touched_;                      // got packets of this batch
  std::vector<Qp*> owing_;                        // owe an acknowledgement
  bool trains_ = true;
  EngineStats stats_;
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_ENGINE_H_
