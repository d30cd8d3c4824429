// Holds the RNBD messages of one session against wire.md §7.
#ifndef TESTS_PCAP_RNBD_CHECKER_H_
#define TESTS_PCAP_RNBD_CHECKER_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/wire/rnbd_messages.h"
#include "rtrs/wire/rtrs_messages.h"

namespace rtrs::pcap {

// A request from its arrival to its response.
struct Request {
  int frame = 0;
  uint16_t cid = 0;
  wire::IoHeader header;
  uint32_t data_len = 0;
  // What RNBD made of it.
  std::optional<rnbd::wire::RnbdType> type;
  rnbd::wire::Io io;
  uint32_t device_id = 0;   // IO and CLOSE
  std::string description;  // for the trace
  std::string operation;    // for the summary
  // What the server did so far.
  bool data_written = false;
  bool invalidated = false;
  std::vector<uint8_t> reply;  // of SESS_INFO and OPEN
};

class RnbdChecker {
 public:
  using Problems = std::vector<std::string>;

  // The session begins: nothing is open. `complete` says that the capture has
  // it from its beginning, so that what was not seen did not happen.
  void Reset(bool complete);
  // Both ends announced that OPEN_RSP carries a write verifier.
  void AllowWriteVerifier() { write_verifier_ = true; }

  // Decodes `user` and fills in what Request says RNBD does.
  Problems OnRequest(absl::Span<const uint8_t> user, Request* request);
  Problems OnResponse(const Request& request, int error);
  // A NOTICE of the server with this payload.
  Problems OnNotice(uint32_t device_id) const;

 private:
  Problems CheckIo(absl::Span<const uint8_t> user, Request* request);
  Problems CheckOpenRsp(absl::Span<const uint8_t> reply);
  // That the RTRS side of a message is as the table of §7.1 has it.
  static void CheckShape(const Request& request, wire::RtrsType type,
                         uint32_t usr_len, uint32_t data_len,
                         Problems* problems);

  bool complete_ = false;
  bool write_verifier_ = false;
  bool sess_info_ = false;
  std::set<uint32_t> open_;
  std::set<uint32_t> ever_open_;
};

}  // namespace rtrs::pcap

#endif  // TESTS_PCAP_RNBD_CHECKER_H_
