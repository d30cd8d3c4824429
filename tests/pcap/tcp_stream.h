// One direction of a TCP connection, put together from captured segments:
// retransmissions dropped, segments out of order held until the gap closes.
#ifndef TESTS_PCAP_TCP_STREAM_H_
#define TESTS_PCAP_TCP_STREAM_H_

#include <cstdint>
#include <map>
#include <vector>

#include "absl/types/span.h"

namespace rtrs::pcap {

class TcpStream {
 public:
  // Of the SYN; the first byte has the number behind it.
  void Start(uint32_t syn_sequence);
  bool started() const { return started_; }
  void Add(uint32_t sequence, absl::Span<const uint8_t> payload);

  // Bytes in order that were not consumed yet.
  absl::Span<const uint8_t> bytes() const { return bytes_; }
  void Consume(size_t n) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(n));
  }
  // Segments behind bytes that the capture does not have.
  bool has_gap() const { return !held_.empty(); }

 private:
  bool started_ = false;
  uint64_t next_ = 0;   // stream offset of the next byte, from 0
  uint32_t first_ = 0;  // its sequence number at offset 0
  std::vector<uint8_t> bytes_;
  std::map<uint64_t, std::vector<uint8_t>> held_;  // by stream offset
};

}  // namespace rtrs::pcap

#endif  // TESTS_PCAP_TCP_STREAM_H_
