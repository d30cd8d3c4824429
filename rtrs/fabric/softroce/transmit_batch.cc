#include "rtrs/fabric/softroce/transmit_batch.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "rtrs/fabric/softroce/crc32.h"
#include "rtrs/wire/coding.h"

namespace rtrs::softroce {
namespace {

// What sendmsg takes (UIO_MAXIOV), with room to spare.
constexpr size_t kMaxParts = 1000;

}  // namespace

TransmitBatch::TransmitBatch(DatagramSocket* socket)
    : socket_(socket), slots_(kPackets) {
  parts_.reserve(4 * kPackets);
}

TransmitBatch::Train* TransmitBatch::TrainFor(const Flow& flow, size_t size,
                                              size_t parts) {
  if (!trains_.empty()) {
    Train& train = trains_.back();
    if (flow.trains && train.flow == &flow && !train.closed &&
        size <= train.segment && train.count < kMaxTrain &&
        train.bytes + size <= kMaxTrainBytes &&
        train.parts + parts <= kMaxParts) {
      return &train;
    }
  }
  Train& train = trains_.emplace_back();
  train.flow = &flow;
  train.segment = size;
  train.first_part = parts_.size();
  return &train;
}

uint32_t TransmitBatch::Add(const Flow& flow, absl::Span<const uint8_t> headers,
                            absl::Span<const fabric::Sge> payload,
                            uint32_t payload_length) {
  Slot& slot = slots_[used_++];
  ++packets_;
  const uint32_t pad = -payload_length & 3;
  const size_t size = headers.size() + payload_length + pad + kIcrcSize;
  const bool copy = payload_length <= kCopyLimit;
  Train* train = TrainFor(flow, size, copy ? 1 : payload.size() + 2);
  const uint32_t place = train->count;
  // The identification that the kernel will give it: its place in the train.
  const uint32_t seed = flow.seed.Headers(size, static_cast<uint16_t>(place));

  std::memcpy(slot.bytes.data(), headers.data(), headers.size());
  size_t used = headers.size();
  if (copy) {
    for (const fabric::Sge& piece : payload) {
      if (piece.length == 0) continue;
      std::memcpy(&slot.bytes[used], piece.address, piece.length);
      used += piece.length;
    }
    std::memset(&slot.bytes[used], 0, pad);
    used += pad;
    const uint32_t crc =
        Icrc(seed, absl::MakeConstSpan(slot.bytes.data(), used));
    wire::PutLe<uint32_t>(&slot.bytes[used], crc);
    parts_.push_back({slot.bytes.data(), used + kIcrcSize});
  } else {
    uint32_t crc = Icrc(seed, absl::MakeConstSpan(slot.bytes.data(), used));
    parts_.push_back({slot.bytes.data(), used});
    for (const fabric::Sge& piece : payload) {
      crc = Crc32(crc, absl::MakeConstSpan(piece.address, piece.length));
      parts_.push_back({const_cast<uint8_t*>(piece.address), piece.length});
    }
    std::memset(slot.trailer.data(), 0, pad);
    crc = Crc32(crc, absl::MakeConstSpan(slot.trailer.data(), pad));
    wire::PutLe<uint32_t>(&slot.trailer[pad], crc);
    parts_.push_back({slot.trailer.data(), pad + kIcrcSize});
  }
  ++train->count;
  train->bytes += size;
  train->parts = parts_.size() - train->first_part;
  train->closed = size < train->segment;
  return place;
}

bool TransmitBatch::Send() {
  if (used_ == 0) return true;
  out_.clear();
  for (const Train& train : trains_) {
    out_.push_back(
        {&train.flow->to,
         absl::MakeConstSpan(parts_).subspan(train.first_part, train.parts),
         train.segment, train.count});
  }
  const bool ok = socket_->Send(out_);
  used_ = 0;
  parts_.clear();
  trains_.clear();
  pins_.clear();
  return ok;
}

}  // namespace rtrs::softroce
