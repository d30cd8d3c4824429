// What all softroce fabrics of a process share: the engines, one per local
// address, and the mutex of everything.
//
// One mutex guards engines, connection managers, queue pairs, completion
// queues and channels: packets for one channel's queue pair may be taken from
// the socket by the thread of another. Each public call of the fabric holds it
// once; nothing from outside is called meanwhile. Whoever polls a channel
// polls all engines; a channel whose thread may sleep is woken through its
// file descriptor. Functions below are called with the mutex held.
//
// An engine lives as long as there is any channel.
#ifndef RTRS_FABRIC_SOFTROCE_HOST_H_
#define RTRS_FABRIC_SOFTROCE_HOST_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/mutex.h"
#include "rtrs/base/random.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/fabric/softroce/datagram_transport.h"

namespace rtrs::softroce {

class Channel;
class Engine;

class Host {
 public:
  // All outlive it. `random` is cryptographic but in tests.
  Host(DatagramTransport* transport, Clock* clock, Random* random);
  ~Host();

  Mutex* mutex() { return &mutex_; }
  Clock* clock() const { return clock_; }
  Random* random() const { return random_; }
  DatagramTransport* transport() const { return transport_; }
  uint64_t guid() const { return guid_; }

  // The engine of `local`, made if there is none.
  absl::StatusOr<Engine*> EngineAt(const SocketAddress& local);
  // For a connection; `source` may be unset.
  absl::StatusOr<Engine*> EngineFor(const SocketAddress& source,
                                    const SocketAddress& destination);
  // nullptr if there is none.
  Engine* Find(const SocketAddress& local) const;

  void AddChannel(Channel* channel);
  void RemoveChannel(Channel* channel);

  // Takes what has arrived everywhere; true if there was anything.
  bool Poll(absl::Time now);
  // Sends what waits in the engines, acknowledgements too if `acks`.
  void Send(bool acks);
  // Of the connection managers.
  absl::Time NextDeadline() const;

 private:
  DatagramTransport* const transport_;
  Clock* const clock_;
  Random* const random_;
  const uint64_t guid_;
  Mutex mutex_;
  std::map<std::string, std::unique_ptr<Engine>> engines_;  // by host
  std::vector<Channel*> channels_;
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_HOST_H_
