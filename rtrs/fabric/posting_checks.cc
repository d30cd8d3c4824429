#include "rtrs/fabric/posting_checks.h"

#include "absl/strings/str_cat.h"
#include "rtrs/base/status_macros.h"

namespace rtrs::fabric {
namespace {

absl::Status CheckSend(const SendQueueLimits& limits, const SendWr& wr) {
  if (wr.sg_list.size() > limits.max_sge) {
    return absl::InvalidArgumentError(absl::StrCat(
        "send of ", wr.sg_list.size(),
        " entries, but the queue pair has max_send_sge ", limits.max_sge));
  }
  const bool copied = (wr.flags & kInline) != 0;
  uint64_t length = 0;
  for (const Sge& sge : wr.sg_list) {
    length += sge.length;
    if (copied || sge.length == 0) continue;
    if (limits.table->Check(sge.lkey, limits.pd,
                            reinterpret_cast<uint64_t>(sge.address), sge.length,
                            0) != MrCheck::kOk) {
      return absl::InvalidArgumentError(absl::StrCat(
          "send of ", sge.length, " bytes: not in memory of lkey ", sge.lkey));
    }
  }
  if (copied && length > limits.max_inline) {
    return absl::InvalidArgumentError(absl::StrCat(
        "inline send of ", length, " bytes, but the queue pair has max_inline ",
        limits.max_inline));
  }
  if (length > limits.max_message_size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "message of ", length, " bytes, more than ", limits.max_message_size));
  }
  return absl::OkStatus();
}

}  // namespace

void DeviceLimits::CopyTo(DeviceAttr* device) const {
  device->max_qp_wr = max_qp_wr;
  device->max_send_sge = max_send_sge;
  device->max_cqe = max_cqe;
  device->max_inline = max_inline;
  device->max_message_size = max_message_size;
}

absl::Status CheckCqInit(const DeviceLimits& limits, uint32_t entries) {
  if (entries != 0 && entries <= limits.max_cqe) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("completion queue of ", entries, " entries: 1 to ",
                   limits.max_cqe, " are possible"));
}

absl::Status CheckQpInit(const DeviceLimits& limits,
                         const QueuePairInit& init) {
  if (init.pd == nullptr || init.cq == nullptr || init.max_send_wr == 0) {
    return absl::InvalidArgumentError(
        "queue pair without protection domain, completion queue or sends");
  }
  if (init.max_send_wr > limits.max_qp_wr ||
      init.max_recv_wr > limits.max_qp_wr ||
      init.max_send_sge > limits.max_send_sge ||
      init.max_inline > limits.max_inline) {
    return absl::InvalidArgumentError(absl::StrCat(
        "queue pair beyond the device's limits: max_send_wr ", init.max_send_wr,
        ", max_recv_wr ", init.max_recv_wr, ", max_send_sge ",
        init.max_send_sge, ", max_inline ", init.max_inline));
  }
  return absl::OkStatus();
}

absl::Status CheckSends(const SendQueueLimits& limits, uint32_t in_use,
                        absl::Span<const SendWr> list) {
  if (list.size() > limits.max_wr - in_use) {
    return absl::ResourceExhaustedError(
        absl::StrCat("send queue full: ", in_use, " of ", limits.max_wr,
                     " in use, ", list.size(), " more posted"));
  }
  for (const SendWr& wr : list) RTRS_RETURN_IF_ERROR(CheckSend(limits, wr));
  return absl::OkStatus();
}

absl::Status CheckRecvs(const RecvQueueLimits& limits, uint32_t in_use,
                        absl::Span<const RecvWr> list) {
  if (list.size() > limits.max_wr - in_use) {
    return absl::ResourceExhaustedError(
        absl::StrCat("receive queue full: ", in_use, " of ", limits.max_wr,
                     " in use, ", list.size(), " more posted"));
  }
  for (const RecvWr& wr : list) {
    if (wr.length > 0 &&
        limits.table->Check(wr.lkey, limits.pd,
                            reinterpret_cast<uint64_t>(wr.address), wr.length,
                            kLocalWrite) != MrCheck::kOk) {
      return absl::InvalidArgumentError(
          absl::StrCat("receive of ", wr.length,
                       " bytes: not in writable memory of lkey ", wr.lkey));
    }
  }
  return absl::OkStatus();
}

}  // namespace rtrs::fabric
