#include "rtrs/fabric/softiwarp/transmitter.h"

#include <errno.h>

#include <algorithm>
#include <cstring>

#include "rtrs/fabric/softiwarp/byte_order.h"
#include "rtrs/fabric/softiwarp/device_limits.h"

namespace rtrs::fabric::softiwarp {
namespace {

constexpr size_t kMaxTrailer = 3 + kCrcSize;

bool IsWrite(WrOpcode opcode) {
  return opcode == WrOpcode::kRdmaWrite ||
         opcode == WrOpcode::kRdmaWriteWithImm;
}

}  // namespace

Transmitter::Transmitter(SendQueue* sends)
    : sends_(sends), scratch_(new uint8_t[kScratchSize]) {
  static_assert(kMaxParts > 2 * (size_t{kDeviceLimits.max_send_sge} + 3));
  set_max_ulpdu(kMinUlpdu);
}

void Transmitter::set_max_ulpdu(uint32_t bytes) {
  // Multiples of 4, so that there is no pad inside a message.
  max_tagged_ = static_cast<uint32_t>(bytes - kTaggedHeaderSize) & ~3U;
  max_untagged_ = static_cast<uint32_t>(bytes - kUntaggedHeaderSize) & ~3U;
}

void Transmitter::AddPart(const uint8_t* bytes, size_t length) {
  if (part_count_ > first_part_) {
    iovec& last = parts_[part_count_ - 1];
    if (static_cast<uint8_t*>(last.iov_base) + last.iov_len == bytes) {
      last.iov_len += length;
      built_ += length;
      return;
    }
  }
  parts_[part_count_++] = {const_cast<uint8_t*>(bytes), length};
  built_ += length;
}

uint8_t* Transmitter::AddScratch(size_t length) {
  uint8_t* at = &scratch_[scratch_used_];
  scratch_used_ += length;
  AddPart(at, length);
  return at;
}

void Transmitter::QueueBytes(absl::Span<const uint8_t> bytes) {
  memcpy(AddScratch(bytes.size()), bytes.data(), bytes.size());
  fpdu_ends_[fpdu_count_++] = built_;
}

void Transmitter::QueueRtr() {
  FpduHeader header;
  header.tagged = true;
  header.opcode = Opcode::kWrite;
  BuildFpdu(header);
}

void Transmitter::AddPayload(uint32_t length, Crc32c* crc) {
  const Sge* sges = sends_->sges(next_);
  uint8_t* copy = length <= kCopyThreshold ? AddScratch(length) : nullptr;
  while (length > 0) {
    const Sge& sge = sges[sge_];
    const uint32_t n = std::min(length, sge.length - sge_offset_);
    const uint8_t* from = sge.address + sge_offset_;
    if (copy != nullptr) {
      memcpy(copy, from, n);
      copy += n;
    } else {
      AddPart(from, n);
    }
    if (crc_) crc->Add(from, n);
    length -= n;
    sge_offset_ += n;
    if (sge_offset_ == sge.length) {
      ++sge_;
      sge_offset_ = 0;
    }
  }
}

void Transmitter::BuildFpdu(const FpduHeader& header) {
  uint8_t* at = AddScratch(header.size());
  EncodeFpduHeader(header, at);
  Crc32c crc;
  if (crc_) crc.Add(at, header.size());
  if (header.is_immediate()) {
    uint8_t* payload = AddScratch(kImmediatePayload);
    const SendEntry& entry = sends_->entry(next_);
    PutBe32(payload, entry.imm);
    PutBe32(payload + 4, entry.opcode == WrOpcode::kSendWithImm ? 1 : 0);
    if (crc_) crc.Add(payload, kImmediatePayload);
  } else if (header.payload > 0) {
    AddPayload(header.payload, &crc);
  }
  const uint32_t pad = header.pad();
  uint8_t* trailer = AddScratch(pad + kCrcSize);
  memset(trailer, 0, pad + kCrcSize);
  if (crc_) {
    crc.Add(trailer, pad);
    PutLe32(trailer + pad, crc.value());
  }
  fpdu_ends_[fpdu_count_++] = built_;
}

void Transmitter::BuildImmediate(const SendEntry& entry, bool paired) {
  FpduHeader header;
  // With a Send behind it, only that one is solicited.
  header.opcode = (entry.flags & kSolicited) != 0 && !paired
                      ? Opcode::kImmediateSolicited
                      : Opcode::kImmediate;
  header.payload = kImmediatePayload;
  header.msn = msn_++;
  BuildFpdu(header);
  immediate_built_ = true;
}

bool Transmitter::BuildData(SendEntry* entry) {
  FpduHeader header;
  header.tagged = IsWrite(entry->opcode);
  header.payload = std::min(entry->length - offset_,
                            header.tagged ? max_tagged_ : max_untagged_);
  header.last = offset_ + header.payload == entry->length;
  if (header.tagged) {
    header.opcode = Opcode::kWrite;
    header.stag = entry->rkey;
    header.offset = entry->remote_address + offset_;
  } else {
    const bool solicited = (entry->flags & kSolicited) != 0;
    if (entry->opcode == WrOpcode::kSendWithInv) {
      header.opcode = solicited ? Opcode::kSendSolicitedInvalidate
                                : Opcode::kSendInvalidate;
      header.invalidate_stag = entry->invalidate_rkey;
    } else {
      header.opcode = solicited ? Opcode::kSendSolicited : Opcode::kSend;
    }
    header.msn = msn_;
    header.message_offset = offset_;
    if (header.last) ++msn_;
  }
  BuildFpdu(header);
  offset_ += header.payload;
  return header.last;
}

bool Transmitter::BuildStep(SendEntry* entry) {
  switch (entry->opcode) {
    case WrOpcode::kSend:
    case WrOpcode::kSendWithInv:
      return BuildData(entry);
    case WrOpcode::kSendWithImm:
      if (immediate_built_) return BuildData(entry);
      BuildImmediate(*entry, /*paired=*/true);
      return false;
    case WrOpcode::kRdmaWrite:
      return entry->length == 0 || BuildData(entry);
    case WrOpcode::kRdmaWriteWithImm:
      if (offset_ < entry->length) {
        BuildData(entry);
        return false;
      }
      BuildImmediate(*entry, /*paired=*/false);
      return true;
  }
  return true;
}

bool Transmitter::HasRoom() const {
  return part_count_ + sends_->max_sge() + 3 <= kMaxParts &&
         scratch_used_ + kMaxHeaderSize + kCopyThreshold + kMaxTrailer <=
             kScratchSize &&
         fpdu_count_ < kMaxFpdus && built_ - written_ < kMaxBatch;
}

void Transmitter::Build() {
  while (next_ < Limit() && HasRoom()) {
    SendEntry& entry = sends_->entry(next_);
    if (!BuildStep(&entry)) continue;
    entry.end = built_;
    ++next_;
    immediate_built_ = false;
    offset_ = sge_ = sge_offset_ = 0;
  }
}

void Transmitter::Advance(size_t written) {
  written_ += written;
  if (!pending()) {
    first_part_ = part_count_ = 0;
    scratch_used_ = 0;
    fpdu_count_ = 0;
    batch_start_ = written_;
    return;
  }
  while (written > 0) {
    iovec& part = parts_[first_part_];
    const size_t n = std::min(written, part.iov_len);
    part.iov_base = static_cast<uint8_t*>(part.iov_base) + n;
    part.iov_len -= n;
    written -= n;
    if (part.iov_len == 0) ++first_part_;
  }
}

bool Transmitter::Complete() {
  while (sends_->head() < next_ &&
         sends_->entry(sends_->head()).end <= written_) {
    if (!sends_->CompleteFront(WcStatus::kSuccess)) return false;
  }
  return true;
}

Transmitter::Outcome Transmitter::Write(ByteStream* stream) {
  const uint64_t wanted = built_ - written_;
  const ssize_t n =
      stream->Write({&parts_[first_part_], part_count_ - first_part_});
  if (n == -EAGAIN) return Outcome::kBlocked;
  if (n < 0) {
    error_ = static_cast<int>(-n);
    return Outcome::kError;
  }
  Advance(static_cast<size_t>(n));
  return static_cast<uint64_t>(n) < wanted ? Outcome::kBlocked : Outcome::kIdle;
}

Transmitter::Outcome Transmitter::SendQueued(ByteStream* stream) {
  return pending() ? Write(stream) : Outcome::kIdle;
}

Transmitter::Outcome Transmitter::Send(ByteStream* stream) {
  for (;;) {
    Build();
    const Outcome outcome = SendQueued(stream);
    if (outcome == Outcome::kError) return outcome;
    if (!Complete()) {
      error_ = ENOBUFS;
      return Outcome::kError;
    }
    if (outcome == Outcome::kBlocked || next_ >= Limit()) return outcome;
  }
}

std::vector<uint8_t> Transmitter::TakeInterrupted() {
  std::vector<uint8_t> rest;
  uint64_t end = written_;
  uint64_t start_of_next = batch_start_;
  for (size_t i = 0; i < fpdu_count_; ++i) {
    if (fpdu_ends_[i] > written_) {
      end = fpdu_ends_[i];
      break;
    }
    start_of_next = fpdu_ends_[i];
  }
  // Nothing of the FPDU at written_ is out if the one before ends there.
  if (start_of_next == written_) return rest;
  size_t left = end - written_;
  for (size_t i = first_part_; i < part_count_ && left > 0; ++i) {
    const auto* bytes = static_cast<const uint8_t*>(parts_[i].iov_base);
    const size_t n = std::min(left, parts_[i].iov_len);
    rest.insert(rest.end(), bytes, bytes + n);
    left -= n;
  }
  return rest;
}

}  // namespace rtrs::fabric::softiwarp
