// Reads capture files in the classic pcap format (tcpdump, or
// "editcap -F pcap" from pcapng), any byte order, micro- or nanoseconds.
#ifndef TESTS_PCAP_CAPTURE_FILE_H_
#define TESTS_PCAP_CAPTURE_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace rtrs::pcap {

struct Frame {
  int number = 0;  // from 1, as other tools count
  uint32_t link_type = 0;
  bool truncated = false;  // cut by the snapshot length of the capture
  std::vector<uint8_t> bytes;
};

// Errors name what is wrong in the file, not the file.
absl::StatusOr<std::vector<Frame>> ParseCapture(absl::Span<const uint8_t> file);
absl::StatusOr<std::vector<Frame>> ReadCapture(const std::string& path);

}  // namespace rtrs::pcap

#endif  // TESTS_PCAP_CAPTURE_FILE_H_
