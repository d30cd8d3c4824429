// What both fabrics decode their packets to, so that RTRS is checked once.
#ifndef TESTS_PCAP_MESSAGE_H_
#define TESTS_PCAP_MESSAGE_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/base/socket_address.h"

namespace rtrs::pcap {

enum class Sender { kClient, kServer };  // of the connect request, or its peer

// A message of a queue pair. An RDMA write with immediate is a kWrite (left
// out when it is empty) and a kImmediate: on iWARP it is that on the wire.
struct Message {
  enum class Kind { kSend, kWrite, kImmediate };
  Kind kind = Kind::kSend;
  Sender sender = Sender::kClient;
  std::vector<uint8_t> bytes;                // kSend, kWrite
  uint64_t address = 0;                      // kWrite; kImmediate: as stated
  uint32_t rkey = 0;                         // kWrite; kImmediate: as stated
  std::optional<uint32_t> imm;               // kImmediate, kSend with immediate
  std::optional<uint32_t> invalidated_rkey;  // kSend with invalidate
};

// As what is reserved has to be.
inline bool AllZero(absl::Span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](uint8_t b) { return b == 0; });
}

using ConnectionId = size_t;

struct Endpoints {
  const char* fabric = "";  // "RoCEv2" or "iWARP"
  SocketAddress client;
  SocketAddress server;
};

// What the decoders of fabrics tell. `frame` is where it was seen.
class ConnectionSink {
 public:
  virtual ~ConnectionSink() = default;
  virtual ConnectionId OnRequest(int frame, const Endpoints& endpoints,
                                 absl::Span<const uint8_t> private_data) = 0;
  virtual void OnAccept(int frame, ConnectionId id,
                        absl::Span<const uint8_t> private_data) = 0;
  // `by_consumer`: by RTRS, which says why in the private data; else by the
  // fabric, for `reason`.
  virtual void OnReject(int frame, ConnectionId id, bool by_consumer,
                        const std::string& reason,
                        absl::Span<const uint8_t> private_data) = 0;
  virtual void OnMessage(int frame, ConnectionId id,
                         const Message& message) = 0;
  virtual void OnDisconnect(int frame, ConnectionId id) = 0;
  // Something that the fabric's own rules forbid.
  virtual void OnFabricProblem(int frame, std::optional<ConnectionId> id,
                               const std::string& text) = 0;
};

}  // namespace rtrs::pcap

#endif  // TESTS_PCAP_MESSAGE_H_
