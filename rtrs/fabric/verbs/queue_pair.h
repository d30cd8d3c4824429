// A reliable connected queue pair of the verbs fabric, with its connection.
//
// The queue pair is made at once, on the device of its protection domain, so
// that receives can be posted before there is a connection; its state
// transitions are made here with the attributes that rdma_cm gives
// (rdma_init_qp_attr), which also lets us shorten the RNR timer.
//
// Sends are collected in a batch and handed to the device as one list, at the
// end of a PostSend with Doorbell::kNow, at Flush, or when the batch is full.
//
// Send queue accounting: every request takes a slot at its post; a polled
// signalled completion frees its own slot and those before it. One slot more
// than the caller asked for is kept for the marker by which Disconnect learns
// that everything before it was delivered.
//
// Belongs to its channel's thread.
#ifndef RTRS_FABRIC_VERBS_QUEUE_PAIR_H_
#define RTRS_FABRIC_VERBS_QUEUE_PAIR_H_

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/verbs/cm_id.h"
#include "rtrs/fabric/verbs/completion_queue.h"
#include "rtrs/fabric/verbs/send_queue.h"

namespace rtrs::fabric::verbs {

class VerbsChannel;

// What an rdma_cm_event says, copied so that it can be acknowledged.
struct CmDetails {
  rdma_cm_event_type type = RDMA_CM_EVENT_CONNECT_ERROR;
  int status = 0;
  std::vector<uint8_t> private_data;
};

class VerbsQueuePair : public QueuePair {
 public:
  static absl::StatusOr<std::unique_ptr<QueuePair>> Create(
      VerbsChannel* channel, const QueuePairInit& init);
  ~VerbsQueuePair() override;

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

  // From the channel.
  void OnCmEvent(const CmDetails& details);
  void OnAsyncEvent(ibv_event_type event);
  void OnDeadline();
  absl::Time deadline() const { return deadline_; }
  void FlushSends();
  // From the completion queue; false for a completion that the caller must
  // not see.
  bool OnCompletion(const ibv_wc& wc);

 private:
  friend class QueuePairTestPeer;

  // The life of the connection.
  enum class Phase {
    kIdle,       // no connection yet
    kAddress,    // active: rdma_cm looks for device and address
    kRoute,      // active: rdma_cm looks for the route
    kRequested,  // active: the request is on its way
    kAccepted,   // passive: the reply is on its way; messages may come
    kConnected,  // up
    kDraining,   // Disconnect was called; the marker is on its way
    kLeaving,    // the disconnect request is on its way
    kDead,       // in error; the last event has been raised
    kClosed,     // the same after Disconnect, or after an orderly end
  };
  static const char* PhaseName(Phase phase);
  static constexpr int kRetryCount = 7;
  static constexpr int kRnrRetryCount = 7;  // for ever

  VerbsQueuePair(VerbsChannel* channel, const QueuePairInit& init);
  absl::Status Open(const QueuePairInit& init);
  void Move(Phase to, const absl::Status& why = absl::OkStatus());
  void SetDeadline(absl::Time deadline);
  bool alive() const { return phase_ < Phase::kDead; }

  // Connection steps, queue_pair_cm.cc.
  absl::Status SetAckTimeout();
  absl::Status ModifyTo(ibv_qp_state state);
  absl::Status OnAddressResolved();
  absl::Status OnRouteResolved();
  absl::Status OnConnectResponse(const CmDetails& details);
  void Established(std::vector<uint8_t> private_data);
  void Leave();
  rdma_conn_param ConnectionParameters(
      absl::Span<const uint8_t> private_data) const;

  // Ends it: everything flushes, `type` is raised, the peer is told.
  void Fail(CmEvent::Type type, const absl::Status& why,
            std::vector<uint8_t> private_data = {});
  void FlushOne(uint64_t wr_id, WcOpcode opcode);
  std::string Name() const;

  VerbsChannel* const channel_;
  VerbsCq* const cq_;
  const uint32_t max_send_wr_;
  const uint32_t max_recv_wr_;
  const bool patient_;  // see kPatientAckTimeout
  CqShard* shard_ = nullptr;
  ibv_qp* qp_ = nullptr;
  std::unique_ptr<CmId> id_;
  Phase phase_ = Phase::kIdle;
  bool disconnect_called_ = false;
  absl::Time deadline_ = absl::InfiniteFuture();
  SocketAddress local_;
  SocketAddress peer_;
  std::vector<uint8_t> connect_data_;
  SendQueue sends_;
  uint32_t receives_ = 0;  // posted and not completed
};

}  // namespace rtrs::fabric::verbs

#endif  // RTRS_FABRIC_VERBS_QUEUE_PAIR_H_
