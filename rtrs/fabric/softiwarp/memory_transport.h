// A network in memory for tests and simulations: deterministic, one thread.
//
// What one end writes the other can read at once, up to `capacity` bytes in
// flight per direction; order of readiness is order of registration. It keeps
// TCP's manners: refused connects show in ConnectResult, closing with unread
// bytes resets, Abort destroys what was not read yet.
#ifndef RTRS_FABRIC_SOFTIWARP_MEMORY_TRANSPORT_H_
#define RTRS_FABRIC_SOFTIWARP_MEMORY_TRANSPORT_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "rtrs/fabric/softiwarp/transport.h"

namespace rtrs::fabric {

class MemoryListener;

class MemoryTransport : public Transport {
 public:
  struct Options {
    size_t capacity = 256 << 10;  // bytes in flight per direction
    uint32_t max_segment = 1448;  // what streams report
    bool stays_on_host = true;    // what streams report
  };
  MemoryTransport() : MemoryTransport(Options()) {}
  explicit MemoryTransport(const Options& options) : options_(options) {}

  absl::StatusOr<std::unique_ptr<ByteStream>> Connect(
      const SocketAddress& source, const SocketAddress& destination) override;
  absl::StatusOr<std::unique_ptr<StreamListener>> Listen(
      const SocketAddress& address, int backlog) override;
  absl::StatusOr<std::unique_ptr<Poller>> CreatePoller() override;

 private:
  friend class MemoryListener;
  Options options_;
  uint16_t next_port_ = 40000;
  std::map<std::string, MemoryListener*> listeners_;  // by address:port
};

}  // namespace rtrs::fabric

#endif  // RTRS_FABRIC_SOFTIWARP_MEMORY_TRANSPORT_H_
