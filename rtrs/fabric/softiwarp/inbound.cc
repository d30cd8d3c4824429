#include "rtrs/fabric/softiwarp/inbound.h"

#include <utility>

#include "rtrs/fabric/softiwarp/byte_order.h"

namespace rtrs::fabric::softiwarp {
namespace {

// Empty segments that end no message, in a row; more are an attack.
constexpr int kMaxEmptyRun = 16;

TerminateCode TaggedError(MrCheck check) {
  switch (check) {
    case MrCheck::kForeignPd:
      return kTaggedForeignStag;
    case MrCheck::kWraps:
      return kTaggedOffsetWrap;
    case MrCheck::kBounds:
      return kTaggedBounds;
    default:
      return kTaggedInvalidStag;
  }
}

TerminateCode InvalidateError(MrCheck check) {
  switch (check) {
    case MrCheck::kForeignPd:
      return kInvalidateForeignStag;
    case MrCheck::kNoAccess:
      return kInvalidateRefused;
    default:
      return kInvalidateUnknownStag;
  }
}

}  // namespace

Inbound::Verdict Inbound::Refuse(TerminateCode code, bool with_header) {
  refusal_ = {code, with_header};
  return Verdict::kRefused;
}

Inbound::Verdict Inbound::Begin(const FpduHeader& header,
                                absl::Span<const uint8_t> payload) {
  if (!header.tagged && header.opcode == Opcode::kTerminate) {
    if (header.queue_number != kTerminateQueueNumber) {
      return Refuse(kUntaggedQueueNumber);
    }
    terminate_ = ParseTerminate(payload);
    return Verdict::kTerminated;
  }
  const Verdict order = CheckOrder(header);
  if (order != Verdict::kOk) return order;
  segment_ = header;
  if (header.tagged) return BeginTagged();
  return header.is_immediate() ? BeginImmediate(payload) : BeginSend();
}

Inbound::Verdict Inbound::CheckOrder(const FpduHeader& header) {
  if (pending_immediate_.has_value() && !in_message_ &&
      (header.tagged || (header.opcode != Opcode::kSend &&
                         header.opcode != Opcode::kSendSolicited))) {
    return Refuse(kUnexpectedOpcode);
  }
  if (!header.last && header.payload == 0) {
    if (++empty_run_ > kMaxEmptyRun) return Refuse(kRdmapUnspecified);
  } else {
    empty_run_ = 0;
  }
  if (header.tagged) return Verdict::kOk;
  if (in_message_) {
    if (header.opcode != message_.opcode ||
        header.queue_number != message_.queue_number ||
        header.invalidate_stag != message_.invalidate_stag) {
      return Refuse(kUnexpectedOpcode);
    }
  } else if (header.queue_number != kSendQueueNumber) {
    return Refuse(kUntaggedQueueNumber);
  }
  if (header.msn != msn_) return Refuse(kUntaggedMsnRange);
  const uint32_t expected = in_message_ ? received_ : 0;
  if (header.is_immediate() && (header.payload != kImmediatePayload ||
                                !header.last || header.message_offset != 0)) {
    return Refuse(kRdmapUnspecified);
  }
  if (header.message_offset != expected ||
      expected + header.payload < expected) {
    return Refuse(kUntaggedOffset);
  }
  return Verdict::kOk;
}

Inbound::Verdict Inbound::BeginTagged() {
  if (segment_.payload > 0) {
    const MrCheck check = table_->Check(segment_.stag, pd_, segment_.offset,
                                        segment_.payload, kRemoteWrite);
    if (check != MrCheck::kOk) return Refuse(TaggedError(check));
  }
  if (!write_open_) write_bytes_ = 0;
  write_open_ = true;
  return Verdict::kOk;
}

Inbound::Verdict Inbound::BeginSend() {
  if (recvs_->empty()) return Verdict::kStalled;
  if (!in_message_) {
    in_message_ = true;
    message_ = segment_;
    received_ = 0;
  }
  const RecvWr& recv = recvs_->front();
  if (segment_.payload > recv.length ||
      received_ > recv.length - segment_.payload) {
    WorkCompletion wc;
    wc.status = WcStatus::kLocalLength;
    wc.opcode = WcOpcode::kRecv;
    recvs_->Complete(wc);
    return Refuse(kUntaggedTooLong);
  }
  return Verdict::kOk;
}

Inbound::Verdict Inbound::BeginImmediate(absl::Span<const uint8_t> payload) {
  const uint32_t word1 = GetBe32(&payload[4]);
  if (paired_immediates_ && word1 > 1) return Refuse(kRdmapUnspecified);
  immediate_ = GetBe32(&payload[0]);
  immediate_pairs_ = paired_immediates_ && word1 == 1;
  if (!immediate_pairs_ && recvs_->empty()) return Verdict::kStalled;
  return Verdict::kOk;
}

uint8_t* Inbound::Map(uint32_t done, uint32_t length, MrPin* pin) {
  if (segment_.tagged) {
    const MrCheck check = table_->Pin(
        segment_.stag, pd_, segment_.offset + done, length, kRemoteWrite, pin);
    if (check == MrCheck::kOk) {
      return reinterpret_cast<uint8_t*>(segment_.offset + done);
    }
    Refuse(TaggedError(check));
    return nullptr;
  }
  const RecvWr& recv = recvs_->front();
  uint8_t* to = recv.address + received_ + done;
  if (table_->Pin(recv.lkey, pd_, reinterpret_cast<uint64_t>(to), length,
                  kLocalWrite, pin) == MrCheck::kOk) {
    return to;
  }
  // Deregistered under a posted receive: the fault is here.
  WorkCompletion wc;
  wc.status = WcStatus::kLocalProtection;
  wc.opcode = WcOpcode::kRecv;
  recvs_->Complete(wc);
  Refuse(kLocalCatastrophic, false);
  return nullptr;
}

Inbound::Verdict Inbound::End() {
  if (segment_.tagged) {
    write_bytes_ += segment_.payload;
    write_open_ = !segment_.last;
    last_write_ = segment_.last ? write_bytes_ : 0;
    return Verdict::kOk;
  }
  const Verdict verdict = segment_.is_immediate() ? EndImmediate() : EndSend();
  last_write_ = 0;
  return verdict;
}

Inbound::Verdict Inbound::EndSend() {
  received_ += segment_.payload;
  if (!segment_.last) return Verdict::kOk;
  WorkCompletion wc;
  wc.opcode = WcOpcode::kRecv;
  wc.byte_len = received_;
  if (segment_.invalidates()) {
    const MrCheck check =
        table_->InvalidateRemote(segment_.invalidate_stag, pd_);
    if (check != MrCheck::kOk) return Refuse(InvalidateError(check));
    wc.flags |= kWithInv;
    wc.invalidated_rkey = segment_.invalidate_stag;
  }
  if (pending_immediate_.has_value()) {
    wc.flags |= kWithImm;
    wc.imm = *std::exchange(pending_immediate_, std::nullopt);
  }
  in_message_ = false;
  ++msn_;
  if (!recvs_->Complete(wc)) return Refuse(kLocalCatastrophic, false);
  return Verdict::kOk;
}

Inbound::Verdict Inbound::EndImmediate() {
  ++msn_;
  if (immediate_pairs_) {
    pending_immediate_ = immediate_;
    return Verdict::kOk;
  }
  WorkCompletion wc;
  wc.opcode = WcOpcode::kRecvRdmaWithImm;
  wc.flags = kWithImm;
  wc.imm = immediate_;
  wc.byte_len = last_write_;
  if (!recvs_->Complete(wc)) return Refuse(kLocalCatastrophic, false);
  return Verdict::kOk;
}

}  // namespace rtrs::fabric::softiwarp
