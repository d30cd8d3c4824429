// One end of a fabric in a test: a channel with one completion queue, and what
// came out of them. Of all in-process fabrics.
#ifndef TESTS_FABRIC_ENDPOINT_H_
#define TESTS_FABRIC_ENDPOINT_H_

#include <cstdint>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/base/path_spec.h"
#include "rtrs/fabric/fabric.h"

namespace rtrs::fabric {

using Bytes = std::vector<uint8_t>;

inline Bytes Counting(size_t length, uint8_t first = 0) {
  Bytes bytes(length);
  std::iota(bytes.begin(), bytes.end(), first);
  return bytes;
}

inline PathSpec PathTo(const SocketAddress& address) {
  PathSpec path;
  path.destination.kind = PathEnd::Kind::kIp;
  path.destination.ip = address;
  path.port = address.port();
  return path;
}

// A channel with one completion queue, a domain, and what came out of them.
class Endpoint {
 public:
  explicit Endpoint(Fabric* fabric)
      : channel(*fabric->CreateEventChannel()),
        cq(*channel->CreateCq(4096)),
        pd(*fabric->AllocPd()) {}

  std::unique_ptr<QueuePair> NewQp(uint32_t max_send_wr = 64,
                                   uint32_t max_recv_wr = 64) {
    QueuePairInit init;
    init.pd = pd.get();
    init.cq = cq.get();
    init.max_send_wr = max_send_wr;
    init.max_recv_wr = max_recv_wr;
    init.max_send_sge = 4;
    init.max_inline = 256;
    return *channel->CreateQp(init);
  }

  // One round; true if anything happened.
  bool Step() {
    bool busy = channel->Progress();
    CmEvent event;
    while (channel->NextEvent(&event)) {
      busy = true;
      events.push_back(std::move(event));
    }
    WorkCompletion wc[16];
    for (int n; (n = cq->Poll(absl::MakeSpan(wc))) > 0;) {
      busy = true;
      completions.insert(completions.end(), wc, wc + n);
    }
    channel->Flush();
    return busy;
  }

  std::unique_ptr<MemoryRegion> Register(Bytes* bytes,
                                         uint32_t access = kLocalWrite |
                                                           kRemoteWrite) {
    return *pd->RegisterMemory(bytes->data(), bytes->size(), access);
  }

  // How many events of `type` came.
  int Count(CmEvent::Type type) const {
    int n = 0;
    for (const CmEvent& event : events) n += event.type == type;
    return n;
  }

  std::unique_ptr<EventChannel> channel;
  std::unique_ptr<CompletionQueue> cq;
  std::unique_ptr<ProtectionDomain> pd;
  std::vector<CmEvent> events;
  std::vector<WorkCompletion> completions;
};

}  // namespace rtrs::fabric

#endif  // TESTS_FABRIC_ENDPOINT_H_
