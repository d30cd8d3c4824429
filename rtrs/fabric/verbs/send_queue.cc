#include "rtrs/fabric/verbs/send_queue.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "rtrs/fabric/verbs/translate.h"

namespace rtrs::fabric::verbs {

void SendSlots::Post(bool is_signalled) {
  ++posted_;
  if (is_signalled) signalled_[last_++ % signalled_.size()] = posted_;
}

void SendSlots::Complete() {
  if (first_ == last_) return;
  freed_ = signalled_[first_++ % signalled_.size()];
}

SendQueue::SendQueue(uint32_t slots, uint32_t max_sge, uint32_t max_inline)
    : slots_(slots),
      max_sge_(std::max(1u, max_sge)),
      max_inline_(max_inline),
      wrs_(kBatch),
      sges_(size_t{kBatch} * max_sge_),
      inline_data_(size_t{kBatch} * max_inline) {}

absl::Status SendQueue::Check(const SendWr& wr) const {
  if (wr.sg_list.size() > max_sge_) {
    return absl::InvalidArgumentError(
        absl::StrCat("a send of ", wr.sg_list.size(), " entries, at most ",
                     max_sge_, " were asked for"));
  }
  if (!(wr.flags & kInline)) return absl::OkStatus();
  uint64_t length = 0;
  for (const Sge& sge : wr.sg_list) length += sge.length;
  if (length > max_inline_) {
    return absl::InvalidArgumentError(
        absl::StrCat("a send of ", length, " inline bytes, at most ",
                     max_inline_, " were asked for"));
  }
  return absl::OkStatus();
}

void SendQueue::Append(const SendWr& wr, bool copy_inline) {
  ibv_send_wr* out = &wrs_[count_];
  ibv_sge* entry = &sges_[size_t{count_} * max_sge_];
  uint8_t* bytes = inline_data_.data() + size_t{count_} * max_inline_;
  uint64_t length = 0;
  for (const Sge& sge : wr.sg_list) length += sge.length;
  TranslateSend(wr, length, out);
  out->sg_list = entry;
  for (const Sge& sge : wr.sg_list) {
    if (sge.length == 0) continue;  // some devices take 0 for 2^31
    const uint8_t* address = sge.address;
    if ((wr.flags & kInline) && copy_inline) {
      std::memcpy(bytes, sge.address, sge.length);
      address = bytes;
      bytes += sge.length;
    }
    *entry++ = {.addr = reinterpret_cast<uint64_t>(address),
                .length = sge.length,
                .lkey = sge.lkey};
    ++out->num_sge;
  }
  if (count_ > 0) wrs_[count_ - 1].next = out;
  ++count_;
}

ibv_send_wr* SendQueue::Take() {
  count_ = 0;
  return wrs_.data();
}

}  // namespace rtrs::fabric::verbs
