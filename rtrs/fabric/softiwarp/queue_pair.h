// A queue pair: one TCP connection, one RDMAP stream. spec/iwarp.md §1, §4, §5.
//
// It joins the pieces: set-up (queue_pair_setup.cc), SendQueue and Transmitter
// on the way out, Receiver and Inbound on the way in, and the end
// (queue_pair_close.cc).
// kDisconnected is raised exactly once for a connection that was established or
// answered: when it is lost, or, after Disconnect, when it is over.
//
// One thread, that of its channel.
#ifndef RTRS_FABRIC_SOFTIWARP_QUEUE_PAIR_H_
#define RTRS_FABRIC_SOFTIWARP_QUEUE_PAIR_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/softiwarp/event_channel.h"
#include "rtrs/fabric/softiwarp/inbound.h"
#include "rtrs/fabric/softiwarp/mpa.h"
#include "rtrs/fabric/softiwarp/receiver.h"
#include "rtrs/fabric/softiwarp/recv_queue.h"
#include "rtrs/fabric/softiwarp/send_queue.h"
#include "rtrs/fabric/softiwarp/transmitter.h"
#include "rtrs/fabric/softiwarp/transport.h"

namespace rtrs::fabric::softiwarp {

class Qp : public QueuePair, public EventSource {
 public:
  Qp(Channel* channel, const QueuePairInit& init);
  ~Qp() override;

  absl::Status Connect(const PathSpec& path,
                       absl::Span<const uint8_t> private_data,
                       absl::Duration timeout) override;
  absl::Status Accept(std::unique_ptr<ConnectRequest> request,
                      absl::Span<const uint8_t> private_data) override;
  void Disconnect() override;
  absl::Status PostSend(absl::Span<const SendWr> list,
                        Doorbell doorbell) override;
  absl::Status PostRecv(absl::Span<const RecvWr> list) override;
  absl::StatusOr<uint32_t> BindWindow(const BindWr& wr) override;
  State state() const override;
  const SocketAddress& local_address() const override { return local_; }
  const SocketAddress& peer_address() const override { return peer_; }

  void OnReady(uint32_t interest) override;
  void OnTimer() override;

  // For the channel. Reads if the connection is up; true if anything came.
  bool Read();
  // Sends what was posted with Doorbell::kDeferred.
  void FlushSends();
  // Receives were posted: goes on with a stalled message.
  void Resume();

 private:
  enum class Phase {
    kIdle,            // no connection yet
    kConnecting,      // active: TCP connects
    kAwaitReply,      // active: the Request is out
    kAwaitFirstFpdu,  // passive, peer-to-peer: the Reply is out
    kOperational,     // both directions carry FPDUs
    kDraining,        // Disconnect: what was posted before still leaves
    kHalfClosed,      // Disconnect: our half is ended, the peer's is not
    kError,           // no stream any more, everything flushed
    kClosed,          // as kError, and the user knows
  };
  static const char* PhaseName(Phase phase);
  // The one place where phase_ changes.
  void Move(Phase to);
  bool reading() const {
    return phase_ == Phase::kAwaitFirstFpdu || phase_ == Phase::kOperational;
  }

  // Set-up (queue_pair_setup.cc).
  absl::Status StartStream(uint32_t interest);
  void OnConnected();
  void OnReply();
  void OnReplyFrame(const MpaFrame& reply);
  // Writes set-up frames, which no fence holds back.
  void SendSetup();
  // Takes what both ends agreed on.
  void Configure(const MpaFrame& theirs, bool crc);
  void RaiseEstablished(std::vector<uint8_t> private_data);
  void FailConnect(const absl::Status& status);

  // The way in.
  bool HandleInbound(Receiver::Outcome outcome);
  void OnFirstFpdu();
  void Stall();
  void Refuse(const Refusal& refusal, absl::Span<const uint8_t> offender);

  // The way out.
  void TrySend();
  void RefreshMaxUlpdu();

  // Keeps the poller up to date.
  void WatchFor(uint32_t interest);
  void UpdateInterest();
  void SetBlocked(bool blocked);

  // The end (queue_pair_close.cc).
  void EndDraining();
  void OnClosingInput();
  // The stream leaves the poller and the channel's lists.
  std::unique_ptr<ByteStream> DetachStream();
  // Ends in kError with an event, both queues flushed, the oldest send with
  // `first`; the stream is gone or given away before.
  void Fail(CmEvent::Type type, const absl::Status& status, WcStatus first,
            std::vector<uint8_t> private_data = {});
  void Lose(const absl::Status& status, WcStatus first);

  Channel* channel_;
  const uint32_t pd_;
  Cq* cq_;
  SendQueue sends_;
  RecvQueue recvs_;
  Inbound inbound_;
  Receiver receiver_;
  Transmitter transmitter_;

  Phase phase_ = Phase::kIdle;
  std::unique_ptr<ByteStream> stream_;
  SocketAddress local_;
  SocketAddress peer_;
  std::vector<uint8_t> request_data_;  // what Connect was given
  bool wants_crc_ = false;
  bool crc_ = false;
  bool send_with_immediate_ = false;  // the peer understands it
  bool strict_ = false;               // FPDUs must fit a TCP segment
  uint32_t peer_max_ulpdu_ = kMaxUlpdu;
  uint32_t strict_sends_ = 0;
  // Passive: nothing may be sent before the initiator's first FPDU.
  bool fenced_ = false;
  bool stalled_ = false;  // no receive is posted for the message at hand
  bool blocked_ = false;  // the stream takes no more
  bool dirty_ = false;    // in the channel's list of deferred sends
  bool resumable_ = false;
  uint32_t watched_ = 0;  // what the poller was told
};

}  // namespace rtrs::fabric::softiwarp

#endif  // RTRS_FABRIC_SOFTIWARP_QUEUE_PAIR_H_
