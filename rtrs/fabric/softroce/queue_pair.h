// A queue pair: Requester and Responder joined to registered memory, to the
// connection manager and to the engine that carries its packets. roce.md §6,
// §7, §11.1.
//
// kDisconnected is raised exactly once for a connection that was established or
// answered: when it is lost, or, after Disconnect, when it is over.
//
// The calls of fabric.h come without the Host's mutex, all others with it.
#ifndef RTRS_FABRIC_SOFTROCE_QUEUE_PAIR_H_
#define RTRS_FABRIC_SOFTROCE_QUEUE_PAIR_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/posting_checks.h"
#include "rtrs/fabric/softroce/channel.h"
#include "rtrs/fabric/softroce/cm_agent.h"
#include "rtrs/fabric/softroce/engine.h"
#include "rtrs/fabric/softroce/icrc.h"
#include "rtrs/fabric/softroce/id_sequence.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/fabric/softroce/requester.h"
#include "rtrs/fabric/softroce/responder.h"

namespace rtrs::softroce {

class Qp : public fabric::QueuePair, public RemoteMemory {
 public:
  Qp(Channel* channel, const fabric::QueuePairInit& init);
  ~Qp() override;

  absl::Status Connect(const PathSpec& path,
                       absl::Span<const uint8_t> private_data,
                       absl::Duration timeout) override;
  absl::Status Accept(std::unique_ptr<fabric::ConnectRequest> request,
                      absl::Span<const uint8_t> private_data) override;
  void Disconnect() override;
  absl::Status PostSend(absl::Span<const fabric::SendWr> list,
                        fabric::Doorbell doorbell) override;
  absl::Status PostRecv(absl::Span<const fabric::RecvWr> list) override;
  absl::StatusOr<uint32_t> BindWindow(const fabric::BindWr& wr) override;
  State state() const override;
  const SocketAddress& local_address() const override { return local_; }
  const SocketAddress& peer_address() const override { return peer_; }

  // For the engine. True if AfterPackets must be called when the batch is
  // through; only once for all packets of it.
  bool OnPacket(const SocketAddress& from, absl::Span<const uint8_t> datagram,
                uint32_t place, const Packet& packet, absl::Time now);
  void AfterPackets(absl::Time now);
  // Puts what is owed into the engine's batch: one packet at the most.
  void SendAck();
  void StopTrains() {
    if (flow_.has_value()) flow_->trains = false;
  }
  // For the connection manager.
  void OnCm(CmOutcome outcome);
  void OnUnreachable(int error);
  // For the channel.
  void OnTimer(absl::Time now);
  void FlushSends(absl::Time now);

  // RemoteMemory, for the responder.
  bool MayWrite(uint32_t rkey, uint64_t address, uint64_t length) override;
  bool Write(uint32_t rkey, uint64_t address,
             absl::Span<const uint8_t> data) override;
  bool WriteReceive(uint32_t lkey, uint8_t* address,
                    absl::Span<const uint8_t> data) override;
  bool Invalidate(uint32_t rkey) override;

 private:
  friend class Channel;  // timer_
  enum class Phase {
    kIdle,         // no connection yet
    kConnecting,   // active: the REQ is out
    kAccepting,    // passive: the REP is out
    kOperational,  // both directions carry messages
    kDraining,     // Disconnect: what was posted before still leaves
    kLeaving,      // Disconnect: the DREQ is out
    kError,        // everything flushed
    kClosed,       // as kError, and the user knows
  };
  static const char* PhaseName(Phase phase);
  // The one place where phase_ changes.
  void Move(Phase to);
  bool connected() const {
    return phase_ == Phase::kAccepting || phase_ == Phase::kOperational ||
           phase_ == Phase::kDraining;
  }

  // Set-up and end (queue_pair_cm.cc).
  absl::Status StartConnect(const PathSpec& path,
                            absl::Span<const uint8_t> private_data,
                            absl::Duration timeout);
  void UseEngine(Engine* engine, const SocketAddress& peer);
  // Both halves begin with what the two REQ and REP agreed on.
  void StartTransfer(uint32_t dest_qpn, uint32_t send_psn,
                     uint32_t expected_psn, uint32_t mtu,
                     uint8_t rnr_retry_count);
  void RaiseEstablished(absl::Span<const uint8_t> private_data);
  void OnRejected(const CmRej& rej);
  void OnLeft(CmOutcome outcome);
  void FailConnect(const absl::Status& status);
  void TryLeave(absl::Time now);
  // Ends in kError with an event, both queues flushed.
  void Fail(fabric::CmEvent::Type type, const absl::Status& status,
            std::vector<uint8_t> private_data = {});
  void Lose(const absl::Status& status) {
    Fail(fabric::CmEvent::Type::kDisconnected, status);
  }

  // Data transfer (queue_pair.cc, its packets queue_pair_send.cc).
  void EnsureRequester();
  void OnAcknowledge(const Packet& packet, absl::Time now);
  // Gives the engine what may be sent now.
  void Pump(absl::Time now);
  bool SendPacket(const TxPacket& packet);
  void NoteTrain(uint32_t psn);
  void JudgeTrains();
  void MoveCompletions();
  void FlushQueues();
  // After anything that can fail a half or move a deadline.
  void Settle(absl::Time now);

  Channel* const channel_;
  Host* const host_;
  fabric::RegionTable* const regions_;
  RoceCq* const cq_;
  const uint32_t pd_;
  const fabric::SendQueueLimits sends_;
  const fabric::RecvQueueLimits receives_;

  Phase phase_ = Phase::kIdle;
  SocketAddress local_;
  SocketAddress peer_;
  Engine* engine_ = nullptr;
  CmSession* session_ = nullptr;
  uint32_t qpn_ = 0;
  uint32_t dest_qpn_ = 0;
  uint32_t psn_ = 0;  // that the peer begins with
  uint32_t mtu_ = 0;
  std::optional<Requester> requester_;
  std::optional<Responder> responder_;
  std::optional<Flow> flow_;
  std::optional<IcrcSeed> seed_in_;
  uint16_t seed_port_ = 0;     // the peer's UDP source port in seed_in_
  IdSequence* ids_ = nullptr;  // of the peer; the engine's
  // Trains get through: nothing sent in one was acknowledged yet; since when.
  bool trains_proven_ = false;
  std::optional<uint32_t> train_psn_;
  uint64_t timeouts_seen_ = 0;

  std::vector<fabric::RecvWr> early_receives_;  // posted before the responder
  uint32_t send_slots_ = 0;  // posted, and no signalled completion polled yet
  uint32_t unsignaled_ = 0;  // completed since the last completion
  uint32_t recv_slots_ = 0;  // posted, and not polled yet
  absl::Time drain_until_ = absl::InfiniteFuture();
  // Its key in the channel's timers.
  std::pair<absl::Time, uint64_t> timer_{absl::InfiniteFuture(), 0};
  bool dirty_ = false;       // in the channel's list of deferred sends
  bool touched_ = false;     // in the engine's list of this batch
  bool owing_ = false;       // in the engine's list of acknowledgements
  bool overflowed_ = false;  // the completion queue was full
};

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_QUEUE_PAIR_H_
