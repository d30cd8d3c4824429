// An owned rdma_cm_id whose context leads back to what it belongs to.
//
// Events of an id come out of the event channel it was made on, or was
// migrated to; so only that channel's thread looks at `qp` and `listener`,
// except that a request that waits for its answer has neither.
#ifndef RTRS_FABRIC_VERBS_CM_ID_H_
#define RTRS_FABRIC_VERBS_CM_ID_H_

#include <rdma/rdma_cma.h>

#include <atomic>
#include <memory>

#include "absl/status/statusor.h"

namespace rtrs::fabric::verbs {

class VerbsQueuePair;
class VerbsListener;

class CmId {
 public:
  static absl::StatusOr<std::unique_ptr<CmId>> Create(
      rdma_event_channel* channel, rdma_port_space port_space);
  // Takes over an id, that of a connect request.
  explicit CmId(rdma_cm_id* id) : id_(id) { id_->context = this; }
  // Rejects or disconnects as its state asks for; no event of it follows.
  ~CmId() { rdma_destroy_id(id_); }
  CmId(const CmId&) = delete;
  CmId& operator=(const CmId&) = delete;

  rdma_cm_id* get() const { return id_; }
  rdma_cm_id* operator->() const { return id_; }

  std::atomic<VerbsQueuePair*> qp = nullptr;
  std::atomic<VerbsListener*> listener = nullptr;

 private:
  rdma_cm_id* id_;
};

}  // namespace rtrs::fabric::verbs

#endif  // RTRS_FABRIC_VERBS_CM_ID_H_
