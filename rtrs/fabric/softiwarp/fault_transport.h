// Faults of the network, over any Transport: cuts, delays, splits, corruption,
// refused connects. Decisions come from a Random, so that over the memory
// transport a seed repeats a run exactly.
//
// The plan can change while streams live. One thread, as its Random.
#ifndef RTRS_FABRIC_SOFTIWARP_FAULT_TRANSPORT_H_
#define RTRS_FABRIC_SOFTIWARP_FAULT_TRANSPORT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/random.h"
#include "rtrs/fabric/softiwarp/transport.h"

namespace rtrs::fabric {

// Chances are per million, of each call or connect. All 0: no faults.
struct FaultPlan {
  uint32_t split = 0;    // a read or write moves only a random part
  uint32_t delay = 0;    // a read finds nothing for up to max_delay
  uint32_t corrupt = 0;  // a read changes one bit (use crc=on); never in the
                         // set-up of a connection, which has no checksum
  uint32_t cut = 0;      // a read or write finds the connection reset
  uint32_t refuse = 0;   // a connect is refused
  absl::Duration max_delay = absl::Milliseconds(10);
};

class FaultStream;

class FaultTransport : public Transport {
 public:
  // None is owned.
  FaultTransport(Transport* inner, Clock* clock, Random* random)
      : inner_(inner), clock_(clock), random_(random) {}

  void set_plan(const FaultPlan& plan) { plan_ = plan; }
  const FaultPlan& plan() const { return plan_; }
  // Resets all connections that live now, or those of one address.
  void CutAll();
  void Cut(const SocketAddress& host);
  // While on, no byte moves on any stream: neither data nor ends.
  void set_frozen(bool frozen) { frozen_ = frozen; }
  // While on, nothing arrives on the streams of one address: what is sent on
  // them stays on its way.
  void set_held(const SocketAddress& host, bool held);
  uint64_t faults() const { return faults_; }

  absl::StatusOr<std::unique_ptr<ByteStream>> Connect(
      const SocketAddress& source, const SocketAddress& destination) override;
  absl::StatusOr<std::unique_ptr<StreamListener>> Listen(
      const SocketAddress& address, int backlog) override;
  absl::StatusOr<std::unique_ptr<Poller>> CreatePoller() override;

 private:
  friend class FaultStream;
  friend class FaultListener;
  // True with a chance of `per_million`; counts the fault.
  bool Strikes(uint32_t per_million);

  Transport* inner_;
  Clock* clock_;
  Random* random_;
  FaultPlan plan_;
  bool IsHeld(const SocketAddress& local, const SocketAddress& peer) const;

  bool frozen_ = false;
  std::vector<SocketAddress> held_;
  uint64_t faults_ = 0;
  std::vector<FaultStream*> streams_;
};

}  // namespace rtrs::fabric

#endif  // RTRS_FABRIC_SOFTIWARP_FAULT_TRANSPORT_H_
