// Work requests and completions: the currency of a queue pair.
#ifndef RTRS_FABRIC_WORK_REQUEST_H_
#define RTRS_FABRIC_WORK_REQUEST_H_

#include <cstdint>

#include "absl/types/span.h"

namespace rtrs::fabric {

class QueuePair;

// A piece of registered local memory.
struct Sge {
  const uint8_t* address = nullptr;
  uint32_t length = 0;  // bytes
  uint32_t lkey = 0;    // of the region that holds it; unused with kInline
};

enum class WrOpcode : uint8_t {
  kSend,
  kSendWithImm,
  kSendWithInv,
  kRdmaWrite,
  kRdmaWriteWithImm,
};

enum WrFlags : uint8_t {
  kSignaled = 1,   // deliver a completion also on success
  kInline = 2,     // copy the data at post time; it may be reused at once
  kSolicited = 4,  // raise an event at a peer that waits for solicited ones
};

// One entry of a posting list. The list and its sg_list are read during the
// post only; the memory that an Sge names must stay unchanged until the
// completion of this or a later signalled request (kInline: not at all).
struct SendWr {
  uint64_t wr_id = 0;
  WrOpcode opcode = WrOpcode::kSend;
  uint8_t flags = 0;
  absl::Span<const Sge> sg_list;
  uint32_t imm = 0;              // host order; sent big endian (wire.md §3)
  uint32_t invalidate_rkey = 0;  // kSendWithInv
  uint64_t remote_address = 0;   // kRdmaWrite*; ignored for length 0
  uint32_t rkey = 0;             // kRdmaWrite*; ignored for length 0
};

// A receive of up to `length` bytes; length 0 serves immediates.
struct RecvWr {
  uint64_t wr_id = 0;
  uint8_t* address = nullptr;
  uint32_t length = 0;
  uint32_t lkey = 0;  // of a region with kLocalWrite; unused for length 0
};

enum class WcStatus : uint8_t {
  kSuccess,
  kFlushed,           // the queue pair was in error before its turn came
  kLocalLength,       // the message was longer than the receive
  kLocalProtection,   // an lkey or local range was wrong
  kRemoteAccess,      // the peer refused an rkey or range
  kRemoteInvalid,     // the peer refused the request itself
  kRetryExceeded,     // the peer does not answer
  kRnrRetryExceeded,  // the peer has no receive posted
  kFatal,             // anything else; the queue pair is in error
};

enum class WcOpcode : uint8_t {
  kSend,  // any send-queue request
  kRdmaWrite,
  kRecv,
  kRecvRdmaWithImm,
};

enum WcFlags : uint8_t {
  kWithImm = 1,
  kWithInv = 2,
};

// With status other than kSuccess only wr_id, status and qp are valid.
struct WorkCompletion {
  uint64_t wr_id = 0;
  QueuePair* qp = nullptr;
  WcStatus status = WcStatus::kSuccess;
  WcOpcode opcode = WcOpcode::kSend;
  uint8_t flags = 0;
  uint32_t byte_len = 0;          // received bytes
  uint32_t imm = 0;               // host order, with kWithImm
  uint32_t invalidated_rkey = 0;  // with kWithInv
};

const char* WcStatusName(WcStatus status);

}  // namespace rtrs::fabric

#endif  // RTRS_FABRIC_WORK_REQUEST_H_
