// A fabric for tests: queue pairs of one process joined by memory copies.
//
// Deterministic and single-threaded: every delivery happens inside a post, a
// Flush or a Disconnect of the sending side. It keeps the rules of fabric.h
// strictly (access rights, protection domains, receive lengths, flushes), so
// that an engine that works here makes no illegal use of a real fabric. A
// message that finds no receive waits for one, as with RNR retry.
#ifndef TESTS_SUPPORT_LOOPBACK_FABRIC_H_
#define TESTS_SUPPORT_LOOPBACK_FABRIC_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "rtrs/base/random.h"
#include "rtrs/fabric/fabric.h"

namespace rtrs::fabric {

class LoopbackRegion;
class LoopbackChannel;
class LoopbackListener;

class LoopbackFabric : public Fabric {
 public:
  explicit LoopbackFabric(uint64_t seed = 1, bool cheap_registration = true);

  const DeviceAttr& device() const override { return device_; }
  absl::StatusOr<std::unique_ptr<ProtectionDomain>> AllocPd() override;
  absl::StatusOr<std::unique_ptr<EventChannel>> CreateEventChannel() override;

  // Regions that are registered now; 0 at the end of a test without leaks.
  size_t region_count() const { return regions_.size(); }
  size_t queue_pair_count() const { return queue_pairs_; }
  // Connects that nobody answers (they time out) rather than being refused.
  void set_black_hole(bool on) { black_hole_ = on; }
  // Cuts the connection of `qp` without a word: both sides see kDisconnected.
  static void Cut(QueuePair* qp);

 private:
  friend class LoopbackPd;
  friend class LoopbackRegion;
  friend class LoopbackChannel;
  friend class LoopbackListener;
  friend class LoopbackQueuePair;

  DeviceAttr device_;
  SeededRandom random_;
  bool black_hole_ = false;
  size_t queue_pairs_ = 0;
  uint16_t next_port_ = 40000;
  std::map<uint32_t, LoopbackRegion*> regions_;         // by key
  std::map<std::string, LoopbackListener*> listeners_;  // by address:port
};

}  // namespace rtrs::fabric

#endif  // TESTS_SUPPORT_LOOPBACK_FABRIC_H_
