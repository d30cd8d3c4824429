#include "tests/pcap/iwarp_decoder.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "rtrs/fabric/softiwarp/crc32c.h"
#include "rtrs/fabric/softiwarp/terminate.h"
#include "rtrs/wire/coding.h"

namespace rtrs::pcap {
namespace {

using fabric::softiwarp::FpduHeader;
using fabric::softiwarp::MpaFrame;
using fabric::softiwarp::MpaParse;
using fabric::softiwarp::Opcode;

constexpr uint32_t kBelongsToSend = 1;  // second word of an immediate

}  // namespace

bool IwarpDecoder::Fail(int frame, Connection* connection,
                        const std::string& text) {
  sink_->OnFabricProblem(frame, connection->id, text);
  connection->state = State::kIgnored;
  return false;
}

void IwarpDecoder::Add(int frame, const IpPacket& packet) {
  const std::string from = packet.source.ToString();
  const std::string to = packet.destination.ToString();
  if (packet.syn && !packet.ack) {
    by_addresses_[{from, to}] = connections_.size();
    Connection connection;
    connection.endpoints = {"iWARP", packet.source, packet.destination};
    connection.flows[static_cast<int>(Sender::kClient)].stream.Start(
        packet.sequence);
    connections_.push_back(connection);
    return;
  }
  Sender sender = Sender::kClient;
  auto it = by_addresses_.find({from, to});
  if (it == by_addresses_.end()) {
    it = by_addresses_.find({to, from});
    sender = Sender::kServer;
  }
  if (it == by_addresses_.end()) return;  // the capture began later
  Connection& connection = connections_[it->second];
  Flow& flow = connection.flows[static_cast<int>(sender)];
  if (packet.syn) {
    flow.stream.Start(packet.sequence);
    return;
  }
  if (connection.state == State::kIgnored ||
      connection.state == State::kClosed || !flow.stream.started()) {
    return;
  }
  flow.stream.Add(packet.sequence, packet.payload);
  Process(frame, &connection);
  if ((packet.fin || packet.rst) && (connection.state == State::kReply ||
                                     connection.state == State::kFpdus)) {
    connection.state = State::kClosed;
    sink_->OnDisconnect(frame, connection.id);
  }
}

void IwarpDecoder::Process(int frame, Connection* connection) {
  if (connection->state == State::kRequest &&
      !ProcessRequest(frame, connection)) {
    return;
  }
  if (connection->state == State::kReply && !ProcessReply(frame, connection)) {
    return;
  }
  ProcessFpdus(frame, connection, Sender::kClient);
  ProcessFpdus(frame, connection, Sender::kServer);
}

bool IwarpDecoder::ProcessRequest(int frame, Connection* connection) {
  TcpStream& stream =
      connection->flows[static_cast<int>(Sender::kClient)].stream;
  MpaFrame request;
  const MpaParse parse =
      fabric::softiwarp::ParseMpaFrame(stream.bytes(), false, &request);
  if (parse.result == MpaParse::Result::kIncomplete) return false;
  if (parse.result != MpaParse::Result::kDone) {
    connection->state = State::kIgnored;  // some other protocol
    return false;
  }
  stream.Consume(parse.consumed);
  connection->state = State::kReply;
  connection->crc = request.crc;
  connection->id =
      sink_->OnRequest(frame, connection->endpoints, request.user_data);
  if (request.markers) {
    return Fail(frame, connection, "MPA Request that wants markers");
  }
  return true;
}

bool IwarpDecoder::ProcessReply(int frame, Connection* connection) {
  TcpStream& stream =
      connection->flows[static_cast<int>(Sender::kServer)].stream;
  MpaFrame reply;
  const MpaParse parse =
      fabric::softiwarp::ParseMpaFrame(stream.bytes(), true, &reply);
  if (parse.result == MpaParse::Result::kIncomplete) return false;
  if (parse.result != MpaParse::Result::kDone) {
    return Fail(frame, connection, absl::StrCat("MPA Reply: ", parse.problem));
  }
  stream.Consume(parse.consumed);
  if (reply.rejected) {
    connection->state = State::kClosed;
    sink_->OnReject(frame, connection->id, !reply.user_data.empty(),
                    "MPA Reply without private data", reply.user_data);
    return false;
  }
  connection->crc = connection->crc || reply.crc;
  connection->state = State::kFpdus;
  sink_->OnAccept(frame, connection->id, reply.user_data);
  return true;
}

void IwarpDecoder::ProcessFpdus(int frame, Connection* connection,
                                Sender sender) {
  using fabric::softiwarp::Framing;
  using fabric::softiwarp::kCrcSize;
  using fabric::softiwarp::kFpduPrefixSize;
  TcpStream& stream = connection->flows[static_cast<int>(sender)].stream;
  const absl::Span<const uint8_t> bytes = stream.bytes();
  size_t at = 0;
  while (connection->state == State::kFpdus &&
         bytes.size() - at >= kFpduPrefixSize) {
    Framing framing;
    if (const auto refusal =
            fabric::softiwarp::ParseFraming(bytes.data() + at, &framing)) {
      Fail(frame, connection,
           absl::StrCat("FPDU framing: ", TerminateName(refusal->code)));
      return;
    }
    if (bytes.size() - at < framing.fpdu_size) break;
    const absl::Span<const uint8_t> fpdu = bytes.subspan(at, framing.fpdu_size);
    at += framing.fpdu_size;
    FpduHeader header;
    if (const auto refusal =
            fabric::softiwarp::DecodeFpduHeader(fpdu.data(), &header)) {
      Fail(frame, connection,
           absl::StrCat("FPDU header: ", TerminateName(refusal->code)));
      return;
    }
    const size_t checked = fpdu.size() - kCrcSize;
    if (connection->crc) {
      fabric::softiwarp::Crc32c crc;
      crc.Add(fpdu.data(), checked);
      if (crc.value() != wire::GetLe<uint32_t>(fpdu.data() + checked)) {
        Fail(frame, connection, "FPDU with bad CRC");
        return;
      }
    }
    if (!ProcessFpdu(frame, connection, sender, header,
                     fpdu.subspan(framing.header_size, header.payload))) {
      return;
    }
  }
  stream.Consume(at);
}

bool IwarpDecoder::ProcessFpdu(int frame, Connection* connection, Sender sender,
                               const FpduHeader& header,
                               absl::Span<const uint8_t> payload) {
  Flow& flow = connection->flows[static_cast<int>(sender)];
  flow.write.sender = flow.send.sender = sender;
  if (header.opcode == Opcode::kTerminate) {
    const auto terminate = fabric::softiwarp::ParseTerminate(payload);
    return Fail(frame, connection,
                absl::StrCat("Terminate ", TerminateName(terminate.code)));
  }
  return header.tagged
             ? ProcessTagged(frame, connection, &flow, header, payload)
             : ProcessUntagged(frame, connection, &flow, header, payload);
}

bool IwarpDecoder::ProcessTagged(int frame, Connection* connection, Flow* flow,
                                 const FpduHeader& header,
                                 absl::Span<const uint8_t> payload) {
  if (header.opcode != Opcode::kWrite) {
    return Fail(frame, connection, "RDMA read response");
  }
  Message& write = flow->write;
  if (!flow->in_write) {
    write.kind = Message::Kind::kWrite;
    write.bytes.clear();
    write.address = flow->write_end = header.offset;
    write.rkey = header.stag;
  } else if (header.stag != write.rkey || header.offset != flow->write_end) {
    return Fail(frame, connection, "RDMA write that jumps between segments");
  }
  write.bytes.insert(write.bytes.end(), payload.begin(), payload.end());
  flow->write_end += payload.size();
  flow->in_write = !header.last;
  // An empty one is the ready-to-receive message, or part of nothing.
  if (header.last && !write.bytes.empty()) {
    sink_->OnMessage(frame, connection->id, write);
  }
  return true;
}

bool IwarpDecoder::ProcessUntagged(int frame, Connection* connection,
                                   Flow* flow, const FpduHeader& header,
                                   absl::Span<const uint8_t> payload) {
  if (header.queue_number != fabric::softiwarp::kSendQueueNumber) {
    return Fail(frame, connection,
                absl::StrCat("message for queue ", header.queue_number));
  }
  if (header.msn != flow->msn) {
    return Fail(frame, connection,
                absl::StrCat("message ", header.msn, " where ", flow->msn,
                             " was expected"));
  }
  Message& send = flow->send;
  if (!flow->in_send) send.bytes.clear();
  if (header.message_offset != send.bytes.size()) {
    return Fail(frame, connection,
                absl::StrCat("segment at offset ", header.message_offset,
                             " behind ", send.bytes.size(), " bytes"));
  }
  flow->in_send = !header.last;
  if (header.last) ++flow->msn;
  if (header.is_immediate()) {
    if (payload.size() != fabric::softiwarp::kImmediatePayload) {
      return Fail(frame, connection, "immediate that has not 8 bytes");
    }
    const uint32_t imm = wire::GetBe<uint32_t>(payload.data());
    if (wire::GetBe<uint32_t>(payload.data() + 4) == kBelongsToSend) {
      flow->pending_imm = imm;
      return true;
    }
    Message message;
    message.kind = Message::Kind::kImmediate;
    message.sender = send.sender;
    message.imm = imm;
    sink_->OnMessage(frame, connection->id, message);
    return true;
  }
  send.bytes.insert(send.bytes.end(), payload.begin(), payload.end());
  if (!header.last) return true;
  send.kind = Message::Kind::kSend;
  send.imm = flow->pending_imm;
  flow->pending_imm.reset();
  send.invalidated_rkey.reset();
  if (header.invalidates()) send.invalidated_rkey = header.invalidate_stag;
  sink_->OnMessage(frame, connection->id, send);
  return true;
}

void IwarpDecoder::Finish(int last_frame) {
  for (const Connection& connection : connections_) {
    if (connection.state != State::kReply &&
        connection.state != State::kFpdus) {
      continue;
    }
    for (const Flow& flow : connection.flows) {
      if (!flow.stream.has_gap()) continue;
      sink_->OnFabricProblem(last_frame, connection.id,
                             "the capture lacks bytes of this stream");
    }
  }
}

}  // namespace rtrs::pcap
