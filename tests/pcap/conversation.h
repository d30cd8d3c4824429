// A conversation between a client and a server that fits the protocol, told to
// a Checker step by step, for tests that change one step.
//
// Queue depth 4, chunks of 8192 bytes at 0x10000 with rkey 0x77, two
// connections, NEW_RKEY off unless asked for.
#ifndef TESTS_PCAP_CONVERSATION_H_
#define TESTS_PCAP_CONVERSATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/wire/immediate.h"
#include "rtrs/wire/rnbd_messages.h"
#include "rtrs/wire/rtrs_messages.h"
#include "tests/pcap/checker.h"
#include "tests/pcap/report.h"

namespace rtrs::pcap {

class Conversation {
 public:
  static constexpr uint16_t kQueueDepth = 4;
  static constexpr uint32_t kChunkSize = 8192;
  static constexpr uint64_t kChunks = 0x10000;
  static constexpr uint32_t kRkey = 0x77;
  static constexpr wire::Descriptor kBuffer = {0x500000, 0x99, 4096};

  explicit Conversation(bool new_rkey = false) : new_rkey_(new_rkey) {}

  // What the steps send; tests change them first.
  wire::ConnectRequest request = FirstRequest();
  wire::ConnectResponse response = FirstResponse();
  wire::InfoRequest info_request{"clt"};
  wire::InfoResponse info_response{{{kChunks, kRkey, 4 * kChunkSize}}};
  rnbd::wire::OpenRsp open_rsp = FirstOpenRsp();

  // Steps, each with all before it.
  void Connect();   // both connections accepted
  void Exchange();  // and INFO_REQ, INFO_RSP
  void Open();      // and SESS_INFO, OPEN: device 0 is open

  // Single messages. The ids are those of cid 0 and 1.
  ConnectionId SendRequest(uint16_t cid);
  void Send(uint16_t cid, Sender sender, absl::Span<const uint8_t> bytes);
  void SendInvalidate(uint16_t cid, uint32_t rkey);
  void Write(uint16_t cid, Sender sender, uint64_t address, uint32_t rkey,
             absl::Span<const uint8_t> bytes);
  void Immediate(uint16_t cid, Sender sender, uint32_t imm);
  // RDMA write and immediate of a request, at the right place of its chunk.
  void Request(uint16_t cid, uint32_t buf_id, uint32_t data_len,
               absl::Span<const uint8_t> user, wire::IoHeader header);
  void Io(uint32_t buf_id, const rnbd::wire::Io& io, bool need_inval = false);
  // Response of a server, by RKEY_RSP when NEW_RKEY is on.
  void Respond(uint16_t cid, uint32_t buf_id, int error = 0,
               bool invalidated = false);
  void Disconnect(uint16_t cid);

  Checker& checker() { return checker_; }
  ConnectionId id(uint16_t cid) const { return ids_[cid]; }
  // The conversation is over; what was found, one problem a line.
  std::string Problems();
  const ConnectionSummary& summary(uint16_t cid) {
    return report_.connection(ids_[cid]);
  }

 private:
  static wire::ConnectRequest FirstRequest();
  static wire::ConnectResponse FirstResponse();
  static rnbd::wire::OpenRsp FirstOpenRsp();

  bool new_rkey_;
  int frame_ = 0;
  uint32_t next_rkey_ = 0x100;
  Report report_;
  Checker checker_{&report_};
  ConnectionId ids_[2] = {0, 0};
  uint32_t chunk_rkeys_[kQueueDepth] = {kRkey, kRkey, kRkey, kRkey};
};

}  // namespace rtrs::pcap

#endif  // TESTS_PCAP_CONVERSATION_H_
