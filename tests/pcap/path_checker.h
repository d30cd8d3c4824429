// Holds the messages of one path (one incarnation of it, all connections)
// against wire.md §2 to §5: info exchange, requests, responses, heartbeats.
#ifndef TESTS_PCAP_PATH_CHECKER_H_
#define TESTS_PCAP_PATH_CHECKER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "rtrs/wire/immediate.h"
#include "rtrs/wire/rtrs_messages.h"
#include "tests/pcap/message.h"
#include "tests/pcap/report.h"
#include "tests/pcap/rnbd_checker.h"

namespace rtrs::pcap {

class PathChecker {
 public:
  enum class State {
    kConnecting,  // not every connection is accepted
    kAccepted,    // INFO_REQ is next
    kInfo,        // INFO_RSP is next
    kConnected,   // requests and responses
    kClosed,
  };

  // `report` outlives it, `rnbd` too; both are the session's.
  PathChecker(const wire::ConnectRequest& first, Report* report,
              RnbdChecker* rnbd);

  const wire::ConnectRequest& first() const { return first_; }
  const std::optional<wire::ConnectResponse>& limits() const { return limits_; }
  State state() const { return state_; }
  const std::string& session_name() const { return session_name_; }

  void AddConnection(uint16_t cid, ConnectionId id);
  bool HasConnection(uint16_t cid) const { return connections_.count(cid) > 0; }
  bool IsAccepted(uint16_t cid) const;
  void OnAccept(int frame, uint16_t cid, const wire::ConnectResponse& response);
  void OnMessage(int frame, uint16_t cid, const Message& message);
  void Close();

 private:
  struct Connection {
    ConnectionId id = 0;
    bool accepted = false;
    std::optional<Message> write;  // of the client, its immediate is next
  };
  struct Chunk {
    uint64_t address = 0;
    uint32_t rkey = 0;
  };

  void Problem(int frame, uint16_t cid, const std::string& text);
  void Trace(int frame, uint16_t cid, Sender sender, const std::string& text);

  void OnInfoRequest(int frame, uint16_t cid, const Message& message);
  void OnInfoResponse(int frame, uint16_t cid, const Message& message);
  void OnClientMessage(int frame, uint16_t cid, const Message& message);
  void OnServerMessage(int frame, uint16_t cid, const Message& message);
  void OnServerWrite(int frame, uint16_t cid, const Message& message);
  void OnServerSend(int frame, uint16_t cid, const Message& message);
  void OnHeartbeat(int frame, uint16_t cid, Sender sender, uint32_t imm);
  void OnFence(int frame, uint16_t cid, Sender sender, uint32_t imm);
  void OnNotice(int frame, uint16_t cid, Sender sender, uint32_t imm);
  // An immediate of our own ends: on cid 0, and both announced `capability`.
  void CheckExtension(int frame, uint16_t cid, uint32_t capability,
                      const std::string& what);
  void OnRequest(int frame, uint16_t cid, uint32_t imm, const Message& write);
  void CheckRequestLimits(int frame, const Request& request);
  void OnResponse(int frame, uint16_t cid, uint32_t imm);

  wire::ConnectRequest first_;
  Report* report_;
  RnbdChecker* rnbd_;
  State state_ = State::kConnecting;
  std::map<uint16_t, Connection> connections_;
  std::optional<wire::ConnectResponse> limits_;
  std::string session_name_;
  uint32_t chunk_size_ = 0;
  std::vector<Chunk> chunks_;
  std::map<uint32_t, Request> requests_;  // in flight, by chunk number
  int heartbeats_[2] = {0, 0};            // not acknowledged, by Sender
  std::multiset<uint32_t> fences_;        // not confirmed
  std::optional<uint32_t> notice_;        // not confirmed
};

}  // namespace rtrs::pcap

#endif  // TESTS_PCAP_PATH_CHECKER_H_
