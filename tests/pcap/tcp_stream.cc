#include "tests/pcap/tcp_stream.h"

namespace rtrs::pcap {

void TcpStream::Start(uint32_t syn_sequence) {
  *this = TcpStream();
  started_ = true;
  first_ = syn_sequence + 1;
}

void TcpStream::Add(uint32_t sequence, absl::Span<const uint8_t> payload) {
  if (payload.empty()) return;
  // Sequence numbers wrap: the offset nearest to next_ is meant.
  const auto distance =
      static_cast<int32_t>(sequence - (first_ + static_cast<uint32_t>(next_)));
  if (distance < 0 && static_cast<uint64_t>(-int64_t{distance}) > next_) return;
  const uint64_t offset = next_ + static_cast<uint64_t>(int64_t{distance});
  std::vector<uint8_t>& held = held_[offset];
  if (held.size() < payload.size()) held.assign(payload.begin(), payload.end());
  while (!held_.empty() && held_.begin()->first <= next_) {
    const auto first = held_.begin();
    const uint64_t known = next_ - first->first;
    if (known < first->second.size()) {
      bytes_.insert(bytes_.end(),
                    first->second.begin() + static_cast<ptrdiff_t>(known),
                    first->second.end());
      next_ = first->first + first->second.size();
    }
    held_.erase(first);
  }
}

}  // namespace rtrs::pcap
