// InfiniBand connection manager messages in their management datagrams, with
// the private data as rdma_cm lays it out. roce.md §10, §11, §12.
//
// Each message is a 256-byte MAD, sent as a UD SEND_ONLY to queue pair 1.
// Pure functions; any thread.
#ifndef RTRS_FABRIC_SOFTROCE_CM_MESSAGES_H_
#define RTRS_FABRIC_SOFTROCE_CM_MESSAGES_H_

#include <array>
#include <cstdint>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace rtrs::softroce {

inline constexpr size_t kMadSize = 256;
using Mad = std::array<uint8_t, kMadSize>;
using Gid = std::array<uint8_t, 16>;

inline constexpr size_t kReqPrivateSize = 92;  // the rdma_cm header included
inline constexpr size_t kRepPrivateSize = 196;
inline constexpr size_t kRejPrivateSize = 148;
inline constexpr size_t kCmaHeaderSize = 36;
inline constexpr size_t kMaxConsumerRequest = kReqPrivateSize - kCmaHeaderSize;

// Service id of a port of the TCP port space. §12.2.
constexpr uint64_t ServiceId(uint16_t port) {
  return 0x0000000001060000 | port;
}

enum class RejectReason : uint16_t {
  kNoResources = 3,
  kTimeout = 4,
  kUnsupported = 5,
  kInvalidCommId = 6,
  kInvalidServiceId = 8,  // nobody listens
  kInvalidTransport = 9,
  kStaleConnection = 10,
  kInvalidGid = 12,
  kInvalidMtu = 26,
  kConsumer = 28,
  kDuplicateCommId = 30,
};

struct CmReq {
  uint32_t local_comm_id = 0;
  uint64_t service_id = 0;
  uint64_t ca_guid = 0;
  uint32_t qpn = 0;           // 24 bits
  uint32_t starting_psn = 0;  // that the sender of the REQ expects
  uint8_t retry_count = 7;
  uint8_t rnr_retry_count = 7;
  uint8_t path_mtu = 3;  // 1..5 for 256..4096 bytes
  uint8_t responder_resources = 0;
  uint8_t initiator_depth = 0;
  uint8_t cm_response_timeout = 20;  // 4.096 us * 2^n, both directions
  uint8_t max_cm_retries = 15;
  uint8_t ack_timeout = 16;  // 4.096 us * 2^n
  uint32_t flow_label = 0;   // 20 bits
  Gid local_gid{};
  Gid remote_gid{};
  uint16_t source_port = 0;
  std::array<uint8_t, kMaxConsumerRequest> private_data{};
};

struct CmRep {
  uint32_t local_comm_id = 0;
  uint32_t remote_comm_id = 0;
  uint64_t ca_guid = 0;
  uint32_t qpn = 0;
  uint32_t starting_psn = 0;  // that the sender of the REP expects
  uint8_t target_ack_delay = 15;
  uint8_t rnr_retry_count = 7;
  std::array<uint8_t, kRepPrivateSize> private_data{};
};

struct CmRtu {
  uint32_t local_comm_id = 0;
  uint32_t remote_comm_id = 0;
};

struct CmRej {
  uint32_t local_comm_id = 0;
  uint32_t remote_comm_id = 0;
  uint8_t message = 0;  // rejected: 0 REQ, 1 REP, 2 none
  RejectReason reason = RejectReason::kConsumer;
  uint8_t info_length = 0;  // additional reject information, 0..72 bytes
  std::array<uint8_t, 72> info{};
  std::array<uint8_t, kRejPrivateSize> private_data{};
};

struct CmMra {
  uint32_t local_comm_id = 0;
  uint32_t remote_comm_id = 0;
  uint8_t message = 0;          // 0 REQ, 1 REP
  uint8_t service_timeout = 0;  // 4.096 us * 2^n more
};

struct CmDreq {
  uint32_t local_comm_id = 0;
  uint32_t remote_comm_id = 0;
  uint32_t remote_qpn = 0;
};

struct CmDrep {
  uint32_t local_comm_id = 0;
  uint32_t remote_comm_id = 0;
};

using CmMessage =
    std::variant<CmReq, CmRep, CmRtu, CmRej, CmMra, CmDreq, CmDrep>;

struct CmDatagram {
  uint64_t transaction_id = 0;
  CmMessage message;
};

Mad EncodeCm(const CmDatagram& v);
// Refuses what is no CM message that RTRS can meet: other classes, methods and
// attributes, transports other than RC, a REQ without the rdma_cm header or
// with addresses in it that its GIDs contradict.
absl::StatusOr<CmDatagram> DecodeCm(absl::Span<const uint8_t> mad);

}  // namespace rtrs::softroce

#endif  // RTRS_FABRIC_SOFTROCE_CM_MESSAGES_H_
