// Between the vocabulary of fabric.h and that of libibverbs: pure functions.
#ifndef RTRS_FABRIC_VERBS_TRANSLATE_H_
#define RTRS_FABRIC_VERBS_TRANSLATE_H_

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rtrs/base/path_spec.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/work_request.h"

namespace rtrs::fabric::verbs {

// Fills `out` but for its scatter/gather list. `length`: bytes it carries; a
// write of length 0 names no remote memory (wire.md §4.5).
void TranslateSend(const SendWr& wr, uint64_t length, ibv_send_wr* out);

WcStatus TranslateStatus(ibv_wc_status status);

// `qp` is what `wc.qp_num` belongs to.
WorkCompletion TranslateCompletion(const ibv_wc& wc, QueuePair* qp);

int TranslateAccess(uint32_t access);
// What a queue pair allows: the peer's writes, and our binding of windows.
unsigned int QueuePairAccess(const DeviceAttr& device);

// The address of a path's end for rdma_cm: AF_INET, AF_INET6, or AF_IB with
// the service id that the kernel's RTRS uses (wire.md §1.1).
struct CmAddress {
  sockaddr_storage storage{};
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};
CmAddress ToCmAddress(const PathEnd& end, uint16_t port);
// RDMA_PS_TCP, or RDMA_PS_IB for a GID.
rdma_port_space PortSpaceOf(const PathEnd& end);

// An address of rdma_cm; unset when it is not an IP address.
SocketAddress FromCmAddress(const sockaddr* address);

// What a rejection's reason means. Only kConsumerReject carries private data
// of the peer's application.
inline constexpr int kConsumerReject = 28;
absl::Status RejectStatus(int reason, const SocketAddress& peer);

}  // namespace rtrs::fabric::verbs

#endif  // RTRS_FABRIC_VERBS_TRANSLATE_H_
