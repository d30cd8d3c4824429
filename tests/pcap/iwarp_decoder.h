// iWARP: from TCP segments to messages of queue pairs. A connection that does
// not begin with an MPA Request is not iWARP and left alone.
#ifndef TESTS_PCAP_IWARP_DECODER_H_
#define TESTS_PCAP_IWARP_DECODER_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "rtrs/fabric/softiwarp/fpdu.h"
#include "rtrs/fabric/softiwarp/mpa.h"
#include "tests/pcap/ip_packet.h"
#include "tests/pcap/message.h"
#include "tests/pcap/tcp_stream.h"

namespace rtrs::pcap {

class IwarpDecoder {
 public:
  // `sink` outlives the decoder.
  explicit IwarpDecoder(ConnectionSink* sink) : sink_(sink) {}

  void Add(int frame, const IpPacket& packet);
  // Reports what the capture left open.
  void Finish(int last_frame);

 private:
  enum class State {
    kRequest,  // no MPA Request yet
    kReply,    // no MPA Reply yet
    kFpdus,    // full operation
    kClosed,
    kIgnored,  // not iWARP, or not readable any more
  };
  // One direction behind the set-up frames.
  struct Flow {
    TcpStream stream;
    uint32_t msn = 1;  // expected, of queue 0
    bool in_write = false;
    bool in_send = false;
    Message write;
    Message send;
    uint64_t write_end = 0;  // where the next segment goes
    std::optional<uint32_t> pending_imm;
  };
  struct Connection {
    State state = State::kRequest;
    Endpoints endpoints;
    ConnectionId id = 0;
    bool crc = false;
    Flow flows[2];  // by Sender
  };

  void Process(int frame, Connection* connection);
  bool ProcessRequest(int frame, Connection* connection);
  bool ProcessReply(int frame, Connection* connection);
  void ProcessFpdus(int frame, Connection* connection, Sender sender);
  // False when the stream cannot be read further.
  bool ProcessFpdu(int frame, Connection* connection, Sender sender,
                   const fabric::softiwarp::FpduHeader& header,
                   absl::Span<const uint8_t> payload);
  bool ProcessTagged(int frame, Connection* connection, Flow* flow,
                     const fabric::softiwarp::FpduHeader& header,
                     absl::Span<const uint8_t> payload);
  bool ProcessUntagged(int frame, Connection* connection, Flow* flow,
                       const fabric::softiwarp::FpduHeader& header,
                       absl::Span<const uint8_t> payload);
  bool Fail(int frame, Connection* connection, const std::string& text);

  ConnectionSink* sink_;
  std::vector<Connection> connections_;
  // By client and server address; the newest of that pair.
  std::map<std::pair<std::string, std::string>, size_t> by_addresses_;
};

}  // namespace rtrs::pcap

#endif  // TESTS_PCAP_IWARP_DECODER_H_
