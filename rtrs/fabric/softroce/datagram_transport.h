// The door to UDP: where softroce gets its datagrams from and gives them to.
//
// A socket belongs to one local address, is unconnected and uses port 4791 in
// both directions. A *train* is a run of datagrams to or from one peer that
// all have the same size, but for a last one that may be shorter; it crosses
// the system call as one. roce.md §3, §15, §17.
//
// A transport may be used from any thread, a socket from one at a time.
#ifndef RTRS_FABRIC_SOFTROCE_DATAGRAM_TRANSPORT_H_
#define RTRS_FABRIC_SOFTROCE_DATAGRAM_TRANSPORT_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "rtrs/base/socket_address.h"

namespace rtrs::softroce {

// The most datagrams of one train that is sent. The kernel takes 64, and their
// IPv4 identifications are 0, 1, 2, ...
inline constexpr uint32_t kMaxTrain = 60;
// The most bytes of one train, headers of UDP and IPv6 left room for.
inline constexpr size_t kMaxTrainBytes = 65000;

struct TrainIn {
  const SocketAddress* from = nullptr;
  absl::Span<const uint8_t> bytes;
  size_t segment = 0;  // bytes of each datagram but the last; not 0
};

struct TrainOut {
  const SocketAddress* to = nullptr;
  absl::Span<const iovec> parts;
  size_t segment = 0;  // bytes of each datagram but the last
  uint32_t count = 0;  // datagrams
};

// ICMP said that `peer` is not reached: ECONNREFUSED, EHOSTUNREACH, ...
struct Unreachable {
  SocketAddress peer;
  int error = 0;
};

class DatagramSocket {
 public:
  virtual ~DatagramSocket() = default;
  // With port 4791.
  virtual const SocketAddress& local_address() const = 0;
  // Takes what has arrived, up to out.size() trains, valid until the next
  // call; returns how many.
  virtual int Receive(absl::Span<TrainIn> out) = 0;
  // Sends what the link takes; the rest is lost, as on any network. False if
  // the kernel or the device cannot send trains of several datagrams.
  virtual bool Send(absl::Span<const TrainOut> trains) = 0;
  // The reports since the last call.
  virtual std::vector<Unreachable> TakeUnreachable() = 0;
  // How much can arrive before it must be received, bytes.
  virtual size_t receive_buffer() const = 0;
  // Readable when Receive would find something; -1: nothing to wait on.
  virtual int fd() const = 0;
};

class DatagramTransport {
 public:
  virtual ~DatagramTransport() = default;
  // Takes port 4791 of `local`. EADDRINUSE says who has it, if that can be
  // known, and what to do.
  virtual absl::StatusOr<std::unique_ptr<DatagramSocket>> Open(
      const SocketAddress& local) = 0;
  // The local address from which packets to `destination` leave.
  virtual absl::StatusOr<SocketAddress> SourceFor(
      const SocketAddress& destination) = 0;
  // Bytes of an IP packet that fit the route.
  virtual uint32_t RouteMtu(const SocketAddress& source,
                            const SocketAddress& destination) = 0;
  // The addresses of this host of one family, for a listener on all of them.
  virtual std::vector<SocketAddress> LocalAddresses(int family) = 0;
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_DATAGRAM_TRANSPORT_H_
