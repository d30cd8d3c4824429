// A network of datagrams in memory for tests and simulations: loses, repeats,
// reorders, delays and damages as a random source says, and so repeats exactly
// by its seed. One thread.
#ifndef RTRS_FABRIC_SOFTROCE_MEMORY_NETWORK_H_
#define RTRS_FABRIC_SOFTROCE_MEMORY_NETWORK_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/softroce/datagram_transport.h"

namespace rtrs::softroce {

// Chances per million datagrams.
struct NetworkFaults {
  uint32_t lose = 0;
  uint32_t lose_burst = 0;  // this one and some that follow
  uint32_t repeat = 0;
  uint32_t reorder = 0;  // arrives up to kReorderDelay later
  uint32_t corrupt = 0;  // some bits flip
  absl::Duration delay = absl::ZeroDuration();
};

struct NetworkStats {
  uint64_t sent = 0;
  uint64_t lost = 0;
  uint64_t corrupted = 0;
  uint64_t overflowed = 0;  // the receive buffer was full
};

class MemorySocket;

class MemoryNetwork : public DatagramTransport {
 public:
  static constexpr uint32_t kBurst = 20;  // datagrams at the most
  static constexpr absl::Duration kReorderDelay = absl::Microseconds(300);

  struct Options {
    uint32_t mtu = 1500;
    size_t receive_buffer = 1 << 20;
    // The source of a path that names none.
    const char* client = "192.0.2.2";
    // Of a train only the first datagram arrives.
    bool trains_lost = false;
    // As a kernel that does not know them.
    bool trains_refused = false;
  };
  using Filter =
      std::function<bool(const SocketAddress& from, const SocketAddress& to,
                         absl::Span<const uint8_t> datagram)>;

  MemoryNetwork(const Options& options, Clock* clock, Random* random)
      : options_(options), clock_(clock), random_(random) {}

  void set_faults(const NetworkFaults& faults) { faults_ = faults; }
  // Sees each datagram before any fault; false loses it.
  void set_filter(Filter filter) { filter_ = std::move(filter); }
  // A datagram from anywhere, as an attacker sends it; no faults.
  void Inject(const SocketAddress& from, const SocketAddress& to,
              absl::Span<const uint8_t> datagram);
  // When the next datagram arrives that is on its way.
  absl::Time NextArrival() const;
  const NetworkStats& stats() const { return stats_; }

  absl::StatusOr<std::unique_ptr<DatagramSocket>> Open(
      const SocketAddress& local) override;
  absl::StatusOr<SocketAddress> SourceFor(
      const SocketAddress& destination) override;
  uint32_t RouteMtu(const SocketAddress&, const SocketAddress&) override {
    return options_.mtu;
  }
  std::vector<SocketAddress> LocalAddresses(int) override { return {}; }

 private:
  friend class MemorySocket;
  void Carry(MemorySocket* from, const SocketAddress& to,
             std::vector<uint8_t> datagram);
  void Deliver(const SocketAddress& from, MemorySocket* to,
               std::vector<uint8_t> datagram, absl::Duration delay);
  bool Chance(uint32_t per_million);

  const Options options_;
  Clock* const clock_;
  Random* const random_;
  NetworkFaults faults_;
  Filter filter_;
  uint32_t burst_ = 0;  // datagrams still to be lost
  uint64_t count_ = 0;
  std::map<std::string, MemorySocket*> sockets_;  // by host
  NetworkStats stats_;
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_MEMORY_NETWORK_H_
