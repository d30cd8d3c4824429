// RoCEv2: from UDP datagrams to messages of queue pairs. Follows the CM to
// learn which queue pairs belong together, checks ICRCs, and takes packets as
// their responder must: in PSN order, repeated ones once.
#ifndef TESTS_PCAP_ROCE_DECODER_H_
#define TESTS_PCAP_ROCE_DECODER_H_

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/types/span.h"
#include "rtrs/fabric/softroce/cm_messages.h"
#include "rtrs/fabric/softroce/packet.h"
#include "tests/pcap/ip_packet.h"
#include "tests/pcap/message.h"

namespace rtrs::pcap {

class RoceDecoder {
 public:
  // `sink` outlives the decoder.
  explicit RoceDecoder(ConnectionSink* sink) : sink_(sink) {}

  // A UDP datagram to port 4791.
  void Add(int frame, const IpPacket& packet);
  // Reports what the capture left open.
  void Finish(int last_frame);

 private:
  // Packets of one direction and the message that they are forming.
  struct Flow {
    uint32_t expected_psn = 0;
    bool lost = false;  // packets ahead of the expected one came last
    bool in_message = false;
    softroce::Reth reth;
    Message message;
  };
  struct Connection {
    ConnectionId id = 0;
    uint32_t client_comm_id = 0;
    uint32_t client_qpn = 0;
    uint32_t server_qpn = 0;
    bool accepted = false;
    bool closed = false;
    Flow flows[2];  // by Sender
  };
  // A queue pair or a CM id, which each host numbers for itself.
  using Local = std::pair<std::string, uint32_t>;
  struct End {
    size_t connection;
    Sender receiver;
  };

  void AddCm(int frame, const IpPacket& ip, const softroce::Packet& packet);
  void AddReq(int frame, const IpPacket& ip, const softroce::CmReq& req);
  void AddRep(int frame, const IpPacket& ip, const softroce::CmRep& rep);
  void AddRej(int frame, const IpPacket& ip, const softroce::CmRej& rej);
  void AddDreq(int frame, const IpPacket& ip, const softroce::CmDreq& dreq);
  void AddData(int frame, Connection* connection, Sender sender,
               const softroce::Packet& packet);
  void AddAck(int frame, const Connection& connection,
              const softroce::Packet& packet);
  void Deliver(int frame, const Connection& connection, Flow* flow);
  void Problem(int frame, const Connection& connection,
               const std::string& text);

  ConnectionSink* sink_;
  std::vector<Connection> connections_;
  std::map<Local, size_t> by_client_comm_id_;
  std::map<Local, End> by_qpn_;
};

}  // namespace rtrs::pcap

#endif  // TESTS_PCAP_ROCE_DECODER_H_
