#include "rtrs/fabric/softiwarp/receiver.h"

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "rtrs/fabric/softiwarp/byte_order.h"
#include "rtrs/fabric/softiwarp/crc32c.h"

namespace rtrs::fabric::softiwarp {
namespace {

// A Terminate longer than this says nothing that we understand.
constexpr size_t kMaxTerminateFpdu = 128;

}  // namespace

Receiver::Receiver(Inbound* inbound)
    : inbound_(inbound), buffer_(new uint8_t[kBufferSize]) {}

absl::Span<const uint8_t> Receiver::offender() const {
  if (!refusal_.with_header) return {};
  return header_bytes();
}

Receiver::Outcome Receiver::Refuse(const Refusal& refusal) {
  state_ = State::kFailed;
  refusal_ = refusal;
  return Outcome::kRefused;
}

void Receiver::Compact() {
  if (head_ == tail_) {
    head_ = tail_ = 0;
  } else if (head_ > 0 && kBufferSize - tail_ < kBufferSize / 2) {
    memmove(&buffer_[0], &buffer_[head_], tail_ - head_);
    tail_ -= head_;
    head_ = 0;
  }
}

Receiver::Outcome Receiver::FillBuffer(ByteStream* stream) {
  Compact();
  const iovec part = {&buffer_[tail_], kBufferSize - tail_};
  const ssize_t n = stream->Read({&part, 1});
  if (n > 0) {
    tail_ += static_cast<size_t>(n);
    return Outcome::kProgress;
  }
  if (n == 0) return Outcome::kEnd;
  if (n == -EAGAIN) return Outcome::kIdle;
  error_ = static_cast<int>(-n);
  return Outcome::kError;
}

ssize_t Receiver::ReadSome(ByteStream* stream, bool* full) {
  Compact();
  iovec parts[2];
  size_t count = 0;
  size_t direct = 0;
  MrPin pin;
  if (!crc_ && state_ == State::kPayload && head_ == tail_ &&
      payload_left_ >= kDirectThreshold) {
    direct = payload_left_;
    uint8_t* to =
        inbound_->Map(header_.payload - payload_left_, payload_left_, &pin);
    if (to == nullptr) return -ECANCELED;
    parts[count++] = {to, direct};
  }
  // Behind a large payload another one is likely: read only its header now, and
  // the rest into its place by the next call.
  const size_t wanted =
      large_ ? payload_left_ - direct + kHeaderRead : kBufferSize;
  const size_t buffered = std::min(kBufferSize - tail_, wanted);
  parts[count++] = {&buffer_[tail_], buffered};
  const ssize_t n = stream->Read({parts, count});
  if (n <= 0) return n;
  const auto got = static_cast<size_t>(n);
  const size_t placed = std::min(got, direct);
  payload_left_ -= static_cast<uint32_t>(placed);
  tail_ += got - placed;
  *full = got == direct + buffered;
  return n;
}

Receiver::Outcome Receiver::Pull(ByteStream* stream) {
  Outcome outcome = Outcome::kIdle;
  size_t total = 0;
  bool full = true;
  while (full && total < kReadBudget) {
    full = false;
    const ssize_t n = ReadSome(stream, &full);
    if (n == -ECANCELED) return Refuse(inbound_->refusal());
    if (n == -EAGAIN) break;
    if (n == 0) {
      ended_ = true;
      return Outcome::kEnd;
    }
    if (n < 0) {
      error_ = static_cast<int>(-n);
      return Outcome::kError;
    }
    total += static_cast<size_t>(n);
    outcome = Process();
    if (outcome != Outcome::kIdle && outcome != Outcome::kProgress) {
      return outcome;
    }
  }
  return total > 0 ? Outcome::kProgress : Outcome::kIdle;
}

Receiver::Outcome Receiver::Process() {
  for (;;) {
    Outcome outcome = Outcome::kIdle;
    switch (state_) {
      case State::kHeader:
        outcome = TakeHeader();
        break;
      case State::kPayload:
        outcome = TakePayload();
        break;
      case State::kTrailer:
        outcome = TakeTrailer();
        break;
      case State::kFailed:
        return Outcome::kIdle;
    }
    if (outcome != Outcome::kProgress) return outcome;
  }
}

bool Receiver::CrcMatches(size_t fpdu_size) const {
  Crc32c crc;
  crc.Add(&buffer_[head_], fpdu_size - kCrcSize);
  return crc.value() == GetLe32(&buffer_[head_ + fpdu_size - kCrcSize]);
}

Receiver::Outcome Receiver::TakeHeader() {
  const size_t available = tail_ - head_;
  if (available < kFpduPrefixSize) return Outcome::kIdle;
  const uint8_t* bytes = &buffer_[head_];
  Framing framing;
  if (auto refusal = ParseFraming(bytes, &framing)) return Refuse(*refusal);
  if (available < framing.header_size) return Outcome::kIdle;
  if (crc_) {
    // Nothing in it can be believed before.
    if (available < framing.fpdu_size) return Outcome::kIdle;
    if (!CrcMatches(framing.fpdu_size)) return Refuse({kMpaCrc});
  }
  memcpy(header_bytes_, bytes, framing.header_size);
  if (auto refusal = DecodeFpduHeader(header_bytes_, &header_)) {
    return Refuse(*refusal);
  }
  absl::Span<const uint8_t> payload;
  if (header_.is_immediate() || header_.opcode == Opcode::kTerminate) {
    if (framing.fpdu_size <= kMaxTerminateFpdu) {
      if (available < framing.fpdu_size) return Outcome::kIdle;
      payload = {bytes + framing.header_size, header_.payload};
    }
  }
  switch (inbound_->Begin(header_, payload)) {
    case Inbound::Verdict::kOk:
      break;
    case Inbound::Verdict::kStalled:
      return Outcome::kStalled;
    case Inbound::Verdict::kRefused:
      return Refuse(inbound_->refusal());
    case Inbound::Verdict::kTerminated:
      state_ = State::kFailed;
      return Outcome::kTerminated;
  }
  head_ += framing.header_size;
  if (header_.is_immediate()) head_ += header_.payload;
  payload_left_ = header_.is_immediate() ? 0 : header_.payload;
  if (payload_left_ > 0) {
    // The short end of a large message says nothing of what comes next.
    large_ =
        !crc_ && (payload_left_ >= kDirectThreshold || (large_ && continues_));
    continues_ = !header_.last;
  }
  trailer_left_ = header_.pad() + static_cast<uint32_t>(kCrcSize);
  state_ = payload_left_ > 0 ? State::kPayload : State::kTrailer;
  return Outcome::kProgress;
}

Receiver::Outcome Receiver::TakePayload() {
  if (payload_left_ > 0) {
    const auto n =
        static_cast<uint32_t>(std::min<size_t>(payload_left_, tail_ - head_));
    if (n == 0) return Outcome::kIdle;
    MrPin pin;
    uint8_t* to = inbound_->Map(header_.payload - payload_left_, n, &pin);
    if (to == nullptr) return Refuse(inbound_->refusal());
    memcpy(to, &buffer_[head_], n);
    head_ += n;
    payload_left_ -= n;
    if (payload_left_ > 0) return Outcome::kIdle;
  }
  state_ = State::kTrailer;
  return Outcome::kProgress;
}

Receiver::Outcome Receiver::TakeTrailer() {
  const auto n =
      static_cast<uint32_t>(std::min<size_t>(trailer_left_, tail_ - head_));
  head_ += n;
  trailer_left_ -= n;
  if (trailer_left_ > 0) return Outcome::kIdle;
  if (inbound_->End() == Inbound::Verdict::kRefused) {
    return Refuse(inbound_->refusal());
  }
  ++fpdus_;
  state_ = State::kHeader;
  return Outcome::kProgress;
}

}  // namespace rtrs::fabric::softiwarp
