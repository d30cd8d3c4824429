#include "rtrs/fabric/softiwarp/send_queue.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/softiwarp/device_limits.h"

namespace rtrs::fabric::softiwarp {
namespace {

WcOpcode CompletionOpcode(WrOpcode opcode) {
  switch (opcode) {
    case WrOpcode::kRdmaWrite:
    case WrOpcode::kRdmaWriteWithImm:
      return WcOpcode::kRdmaWrite;
    default:
      return WcOpcode::kSend;
  }
}

}  // namespace

SendQueue::SendQueue(RegionTable* table, uint32_t pd, Cq* cq, QueuePair* qp,
                     uint32_t max_wr, uint32_t max_sge, uint32_t max_inline)
    : limits_{table,      pd,
              max_wr,     std::max(max_sge, 1U),
              max_inline, kDeviceLimits.max_message_size},
      cq_(cq),
      qp_(qp),
      ring_(std::bit_ceil(uint64_t{max_wr})),
      sges_(new Sge[ring_.size() * limits_.max_sge]),
      inline_(new uint8_t[ring_.size() * limits_.max_inline + 1]),
      mask_(ring_.size() - 1) {}

absl::Status SendQueue::Post(absl::Span<const SendWr> list) {
  RTRS_RETURN_IF_ERROR(CheckSends(limits_, slots_, list));
  if (empty()) base_ = tail_;
  for (const SendWr& wr : list) {
    const uint64_t index = IndexOf(tail_);
    SendEntry& entry = ring_[index];
    Sge* sges = &sges_[index * limits_.max_sge];
    entry.wr_id = wr.wr_id;
    entry.remote_address = wr.remote_address;
    entry.rkey = wr.rkey;
    entry.imm = wr.imm;
    entry.invalidate_rkey = wr.invalidate_rkey;
    entry.opcode = wr.opcode;
    entry.flags = wr.flags;
    entry.length = 0;
    entry.sge_count = 0;
    if ((wr.flags & kInline) != 0) {
      uint8_t* data = &inline_[index * limits_.max_inline];
      for (const Sge& sge : wr.sg_list) {
        if (sge.length == 0) continue;
        memcpy(data + entry.length, sge.address, sge.length);
        entry.length += sge.length;
      }
      if (entry.length > 0) sges[entry.sge_count++] = {data, entry.length, 0};
    } else {
      for (const Sge& sge : wr.sg_list) {
        if (sge.length == 0) continue;
        sges[entry.sge_count++] = sge;
        entry.length += sge.length;
      }
    }
    ++tail_;
  }
  slots_ += static_cast<uint32_t>(list.size());
  return absl::OkStatus();
}

bool SendQueue::CompleteFront(WcStatus status) {
  const SendEntry& entry = ring_[IndexOf(head_++)];
  if (status == WcStatus::kSuccess && (entry.flags & kSignaled) == 0) {
    ++unsignaled_;
    return true;
  }
  WorkCompletion wc;
  wc.wr_id = entry.wr_id;
  wc.qp = qp_;
  wc.status = status;
  wc.opcode = CompletionOpcode(entry.opcode);
  const uint32_t freed = 1 + std::exchange(unsignaled_, 0);
  if (cq_->Push(wc, &slots_, freed)) return true;
  slots_ -= freed;
  return false;
}

void SendQueue::Flush(WcStatus first) {
  while (!empty()) {
    CompleteFront(first);
    first = WcStatus::kFlushed;
  }
}

}  // namespace rtrs::fabric::softiwarp
