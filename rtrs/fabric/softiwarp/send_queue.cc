#include "rtrs/fabric/softiwarp/send_queue.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
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
    : table_(table),
      pd_(pd),
      cq_(cq),
      qp_(qp),
      max_wr_(max_wr),
      max_sge_(std::max(max_sge, 1U)),
      max_inline_(max_inline),
      ring_(std::bit_ceil(uint64_t{max_wr})),
      sges_(new Sge[ring_.size() * max_sge_]),
      inline_(new uint8_t[ring_.size() * max_inline_ + 1]),
      mask_(ring_.size() - 1) {}

absl::Status SendQueue::Check(const SendWr& wr) const {
  if (wr.sg_list.size() > max_sge_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "send of ", wr.sg_list.size(),
        " entries, but the queue pair has max_send_sge ", max_sge_));
  }
  uint64_t length = 0;
  for (const Sge& sge : wr.sg_list) {
    length += sge.length;
    if ((wr.flags & kInline) != 0 || sge.length == 0) continue;
    if (table_->Check(sge.lkey, pd_, reinterpret_cast<uint64_t>(sge.address),
                      sge.length, 0) != MrCheck::kOk) {
      return absl::InvalidArgumentError(absl::StrCat(
          "send of ", sge.length, " bytes: not in memory of lkey ", sge.lkey));
    }
  }
  if ((wr.flags & kInline) != 0 && length > max_inline_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "inline send of ", length, " bytes, but the queue pair has max_inline ",
        max_inline_));
  }
  if (length > kMaxMessageSize) {
    return absl::InvalidArgumentError(absl::StrCat(
        "message of ", length, " bytes, more than ", kMaxMessageSize));
  }
  return absl::OkStatus();
}

absl::Status SendQueue::Post(absl::Span<const SendWr> list) {
  if (list.size() > max_wr_ - slots_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("send queue full: ", slots_, " of ", max_wr_, " in use, ",
                     list.size(), " more posted"));
  }
  for (const SendWr& wr : list) RTRS_RETURN_IF_ERROR(Check(wr));
  if (empty()) base_ = tail_;
  for (const SendWr& wr : list) {
    const uint64_t index = IndexOf(tail_);
    SendEntry& entry = ring_[index];
    Sge* sges = &sges_[index * max_sge_];
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
      uint8_t* data = &inline_[index * max_inline_];
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
