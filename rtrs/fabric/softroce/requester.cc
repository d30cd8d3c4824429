#include "rtrs/fabric/softroce/requester.h"

#include <algorithm>
#include <cstring>

namespace rtrs::softroce {
namespace {

using fabric::Sge;
using fabric::WcOpcode;
using fabric::WcStatus;
using fabric::WrOpcode;

bool IsWrite(WrOpcode opcode) {
  return opcode == WrOpcode::kRdmaWrite ||
         opcode == WrOpcode::kRdmaWriteWithImm;
}

Opcode OpcodeOf(WrOpcode opcode, bool first, bool last) {
  if (IsWrite(opcode)) {
    const bool imm = opcode == WrOpcode::kRdmaWriteWithImm;
    if (first && last) return imm ? Opcode::kWriteOnlyImm : Opcode::kWriteOnly;
    if (first) return Opcode::kWriteFirst;
    if (!last) return Opcode::kWriteMiddle;
    return imm ? Opcode::kWriteLastImm : Opcode::kWriteLast;
  }
  if (first && !last) return Opcode::kSendFirst;
  if (!first && !last) return Opcode::kSendMiddle;
  switch (opcode) {
    case WrOpcode::kSendWithImm:
      return first ? Opcode::kSendOnlyImm : Opcode::kSendLastImm;
    case WrOpcode::kSendWithInv:
      return first ? Opcode::kSendOnlyInv : Opcode::kSendLastInv;
    default:
      return first ? Opcode::kSendOnly : Opcode::kSendLast;
  }
}

// The pieces of `sges` that hold bytes [offset, offset + length).
void Slice(absl::Span<const Sge> sges, uint64_t offset, uint64_t length,
           std::vector<Sge>* out) {
  out->clear();
  for (const Sge& sge : sges) {
    if (length == 0) return;
    if (offset >= sge.length) {
      offset -= sge.length;
      continue;
    }
    const uint64_t take = std::min<uint64_t>(length, sge.length - offset);
    out->push_back(
        {sge.address + offset, static_cast<uint32_t>(take), sge.lkey});
    offset = 0;
    length -= take;
  }
}

}  // namespace

Requester::Requester(const RequesterOptions& options)
    : options_(options),
      una_(options.first_psn),
      next_(options.first_psn),
      sent_(options.first_psn),
      end_(options.first_psn),
      window_(options.window) {}

void Requester::Post(const fabric::SendWr& wr) {
  Request& request = requests_.emplace_back();
  request.wr = wr;
  request.wr.sg_list = {};
  for (const Sge& sge : wr.sg_list) request.length += sge.length;
  if ((wr.flags & fabric::kInline) != 0) {
    request.inline_data.reserve(request.length);
    for (const Sge& sge : wr.sg_list) {
      request.inline_data.insert(request.inline_data.end(), sge.address,
                                 sge.address + sge.length);
    }
    request.sges = {
        {request.inline_data.data(), static_cast<uint32_t>(request.length), 0}};
  } else {
    request.sges.assign(wr.sg_list.begin(), wr.sg_list.end());
  }
  request.packets = static_cast<uint32_t>(std::max<uint64_t>(
      1, (request.length + options_.mtu - 1) / options_.mtu));
  request.first_psn = end_;
  end_ = AddPsn(end_, request.packets);
  if (failed_) Finish(WcStatus::kFlushed);
}

void Requester::PostLocal(uint64_t wr_id, uint8_t flags) {
  Request& request = requests_.emplace_back();
  request.wr.wr_id = wr_id;
  request.wr.flags = flags;
  request.packets = 0;
  request.first_psn = end_;
  if (failed_) {
    Finish(WcStatus::kFlushed);
  } else if (requests_.size() == 1) {
    Finish(WcStatus::kSuccess);
  }
}

bool Requester::NextPacket(absl::Time now, TxPacket* out) {
  if (failed_ || requests_.empty() || now < resume_) return false;
  if (probe_due_) {
    FillProbe(out);
    return true;
  }
  while (cursor_ < requests_.size() && requests_[cursor_].packets == 0) {
    ++cursor_;
  }
  if (cursor_ >= requests_.size()) return false;
  const int32_t in_flight = ComparePsn(next_, una_);
  if (in_flight >= static_cast<int32_t>(window_)) return false;
  const Request& request = requests_[cursor_];
  const auto index =
      static_cast<uint32_t>(ComparePsn(next_, request.first_psn));
  Fill(request, index, out);
  // Ask often enough that the window moves, and always at its edge.
  ++since_ack_request_;
  const bool last = index + 1 == request.packets;
  if (last || since_ack_request_ >= kAckEvery ||
      in_flight + 1 >= static_cast<int32_t>(window_)) {
    out->bth.ack_request = true;
    since_ack_request_ = 0;
  }
  ++stats_.packets;
  const bool again = ComparePsn(next_, sent_) < 0;
  if (again) {
    ++stats_.retransmitted;
  } else if (out->bth.ack_request && !timing_) {
    timing_ = true;
    timed_psn_ = next_;
    timed_at_ = now;
  }
  next_ = AddPsn(next_, 1);
  if (!again) sent_ = next_;
  if (last) ++cursor_;
  if (deadline_ == absl::InfiniteFuture()) {
    progress_ = now;
    Restart(now);
  }
  return true;
}

void Requester::FillProbe(TxPacket* out) {
  probe_due_ = false;
  // The newest packet that was sent: its request is the last one begun.
  const uint32_t psn = AddPsn(sent_, kPsnMask);
  size_t i = std::min(cursor_, requests_.size() - 1);
  while (i > 0 && ComparePsn(requests_[i].first_psn, psn) > 0) --i;
  Fill(requests_[i],
       static_cast<uint32_t>(ComparePsn(psn, requests_[i].first_psn)), out);
  out->bth.ack_request = true;
  ++stats_.packets;
  ++stats_.retransmitted;
}

void Requester::Fill(const Request& request, uint32_t index, TxPacket* out) {
  const bool first = index == 0;
  const bool last = index + 1 == request.packets;
  const uint64_t offset = uint64_t{index} * options_.mtu;
  const uint64_t length =
      std::min<uint64_t>(options_.mtu, request.length - offset);
  const Opcode opcode = OpcodeOf(request.wr.opcode, first, last);
  out->bth = Bth{};
  out->bth.opcode = static_cast<uint8_t>(opcode);
  out->bth.pad = static_cast<uint8_t>((4 - (length & 3)) & 3);
  out->bth.dest_qpn = options_.dest_qpn;
  out->bth.psn = AddPsn(request.first_psn, index);
  out->bth.solicited = last && (request.wr.flags & fabric::kSolicited) != 0;
  out->info = FindOpcode(static_cast<uint8_t>(opcode));
  // A message without bytes names no memory: §4, heartbeats and responses.
  out->reth = request.length == 0
                  ? Reth{}
                  : Reth{request.wr.remote_address, request.wr.rkey,
                         static_cast<uint32_t>(request.length)};
  out->imm = request.wr.imm;
  out->invalidate_rkey = request.wr.invalidate_rkey;
  Slice(request.sges, offset, length, &pieces_);
  out->payload = pieces_;
  out->payload_length = static_cast<uint32_t>(length);
}

void Requester::OnAck(uint32_t psn, absl::Time now) {
  // Only what was sent and not yet acknowledged can be acknowledged.
  const int32_t count = ComparePsn(psn, una_) + 1;
  if (failed_ || count <= 0 || ComparePsn(psn, sent_) >= 0) return;
  MeasureRoundTrip(now, psn);
  una_ = AddPsn(psn, 1);
  if (ComparePsn(next_, una_) < 0) Rewind(una_);
  while (!requests_.empty() && ComparePsn(AddPsn(requests_.front().first_psn,
                                                 requests_.front().packets),
                                          una_) <= 0) {
    Finish(WcStatus::kSuccess);
  }
  retries_ = 0;  // but not backoff_
  rnr_retries_ = 0;
  progress_ = now;
  sequence_nak_seen_ = false;
  probed_ = false;
  probe_due_ = false;
  window_ = std::min<double>(options_.window, window_ + count / window_);
  if (una_ == sent_) {
    deadline_ = absl::InfiniteFuture();
  } else {
    Restart(now);
  }
}

void Requester::OnNak(uint8_t syndrome, uint32_t psn, absl::Time now) {
  if (failed_ || ComparePsn(psn, una_) < 0 || ComparePsn(psn, sent_) > 0) {
    return;
  }
  // It acknowledges everything before it.
  if (ComparePsn(psn, una_) > 0) OnAck(AddPsn(psn, kPsnMask), now);
  if ((syndrome & 0xE0) == kRnrNak) {
    ++stats_.rnr_naks;
    if (options_.rnr_retry_count != 7 &&
        ++rnr_retries_ > options_.rnr_retry_count) {
      return Fail(WcStatus::kRnrRetryExceeded);
    }
    resume_ = now + absl::Microseconds(RnrTimerMicros(syndrome));
    Rewind(psn);
    paused_ = true;
    deadline_ = resume_;
    return;
  }
  switch (syndrome) {
    case kNakPsnSequence:
      ++stats_.sequence_naks;
      if (sequence_nak_seen_) return;  // of packets that followed the lost one
      sequence_nak_seen_ = true;
      ShrinkWindow();
      Rewind(psn);
      Restart(now);
      return;
    case kNakRemoteAccess:
      return Fail(WcStatus::kRemoteAccess);
    case kNakInvalidRequest:
      return Fail(WcStatus::kRemoteInvalid);
    default:
      return Fail(WcStatus::kFatal);
  }
}

void Requester::OnTimer(absl::Time now) {
  if (failed_ || now < deadline_) return;
  if (now < resume_) {
    deadline_ = resume_;
    return;
  }
  if (una_ == sent_) {
    deadline_ = absl::InfiniteFuture();
    return;
  }
  sequence_nak_seen_ = false;
  if (paused_) {
    paused_ = false;
    Restart(now);
    return;
  }
  if (!probed_ && next_ == sent_) {
    // The tail may be all that was lost; the last packet again costs nothing.
    probed_ = true;
    probe_due_ = true;
    ++stats_.probes;
    deadline_ = now + Timeout();
    return;
  }
  ++stats_.timeouts;
  backoff_ = std::min(backoff_ + 1, kMaxBackoff);
  if (++retries_ > options_.retry_count &&
      now - progress_ >= options_.patience) {
    return Fail(WcStatus::kRetryExceeded);
  }
  ShrinkWindow();
  Rewind(una_);
  Restart(now);
}

void Requester::Flush() {
  failed_ = true;
  deadline_ = absl::InfiniteFuture();
  while (!requests_.empty()) Finish(WcStatus::kFlushed);
}

bool Requester::NextCompletion(SendCompletion* out) {
  if (completions_.empty()) return false;
  *out = completions_.front();
  completions_.pop_front();
  return true;
}

void Requester::Rewind(uint32_t psn) {
  next_ = psn;
  since_ack_request_ = 0;
  timing_ = false;
  probe_due_ = false;
  cursor_ = 0;
  while (cursor_ < requests_.size() &&
         ComparePsn(
             AddPsn(requests_[cursor_].first_psn, requests_[cursor_].packets),
             psn) <= 0) {
    ++cursor_;
  }
}

void Requester::Finish(WcStatus status) {
  const fabric::SendWr& wr = requests_.front().wr;
  completions_.push_back(
      {wr.wr_id, status,
       IsWrite(wr.opcode) ? WcOpcode::kRdmaWrite : WcOpcode::kSend,
       status != WcStatus::kSuccess || (wr.flags & fabric::kSignaled) != 0});
  requests_.pop_front();
  if (cursor_ > 0) --cursor_;
}

void Requester::Fail(WcStatus status) {
  failure_ = status;
  if (!requests_.empty()) Finish(status);
  Flush();
}

void Requester::ShrinkWindow() {
  window_ = std::max<double>(kMinWindow, window_ / 2);
}

void Requester::Restart(absl::Time now) {
  // Two round trips until the probe, a whole time-out behind it.
  deadline_ = now + (probed_ || backoff_ > 0
                         ? Timeout()
                         : std::max(options_.min_timeout, 2 * srtt_));
}

absl::Duration Requester::Timeout() const {
  const absl::Duration base =
      std::max(options_.min_timeout, srtt_ + 4 * rttvar_);
  return std::min(options_.max_timeout, base * (1 << backoff_));
}

void Requester::MeasureRoundTrip(absl::Time now, uint32_t acked_psn) {
  if (!timing_ || ComparePsn(acked_psn, timed_psn_) < 0) return;
  timing_ = false;
  backoff_ = 0;
  const absl::Duration sample = now - timed_at_;
  if (srtt_ == absl::ZeroDuration()) {
    srtt_ = sample;
    rttvar_ = sample / 2;
    return;
  }
  // RFC 6298.
  rttvar_ = rttvar_ * 0.75 + absl::AbsDuration(srtt_ - sample) * 0.25;
  srtt_ = srtt_ * 0.875 + sample * 0.125;
}

}  // namespace rtrs::softroce
