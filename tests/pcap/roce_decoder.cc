#include "tests/pcap/roce_decoder.h"

#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "rtrs/fabric/softroce/icrc.h"
#include "rtrs/wire/coding.h"

namespace rtrs::pcap {
namespace {

using softroce::OpcodeInfo;
using softroce::Packet;

// Whether the ICRC is that of this packet with the identification it had.
bool IcrcIsGood(const IpPacket& ip) {
  const softroce::IcrcSeed seed(ip.source, ip.destination);
  const size_t body = ip.payload.size() - softroce::kIcrcSize;
  return softroce::Icrc(seed.Headers(ip.payload.size(), ip.ipv4_id),
                        ip.payload.subspan(0, body)) ==
         wire::GetLe<uint32_t>(ip.payload.data() + body);
}

}  // namespace

void RoceDecoder::Problem(int frame, const Connection& connection,
                          const std::string& text) {
  sink_->OnFabricProblem(frame, connection.id, text);
}

void RoceDecoder::Add(int frame, const IpPacket& ip) {
  if (ip.truncated) {
    sink_->OnFabricProblem(frame, std::nullopt,
                           "the capture cut this RoCEv2 packet");
    return;
  }
  Packet packet;
  const softroce::ParseError error = softroce::Parse(ip.payload, &packet);
  if (error != softroce::ParseError::kNone) {
    sink_->OnFabricProblem(
        frame, std::nullopt,
        absl::StrCat("RoCEv2 packet: ", softroce::ParseErrorName(error)));
    return;
  }
  if (!IcrcIsGood(ip)) {
    sink_->OnFabricProblem(frame, std::nullopt, "RoCEv2 packet with bad ICRC");
    return;
  }
  if (packet.bth.dest_qpn == softroce::kGsiQpn) {
    AddCm(frame, ip, packet);
    return;
  }
  const auto it =
      by_qpn_.find({ip.destination.HostString(), packet.bth.dest_qpn});
  if (it == by_qpn_.end()) return;  // not of a connection that was seen
  Connection& connection = connections_[it->second.connection];
  const Sender sender = it->second.receiver == Sender::kClient
                            ? Sender::kServer
                            : Sender::kClient;
  if (connection.closed) return;
  if (packet.info->Has(OpcodeInfo::kAeth)) {
    AddAck(frame, connection, packet);
  } else {
    AddData(frame, &connection, sender, packet);
  }
}

void RoceDecoder::AddCm(int frame, const IpPacket& ip, const Packet& packet) {
  const auto cm = softroce::DecodeCm(packet.payload);
  if (!cm.ok()) {
    sink_->OnFabricProblem(frame, std::nullopt,
                           absl::StrCat("CM: ", cm.status().message()));
    return;
  }
  if (const auto* req = std::get_if<softroce::CmReq>(&cm->message)) {
    AddReq(frame, ip, *req);
  } else if (const auto* rep = std::get_if<softroce::CmRep>(&cm->message)) {
    AddRep(frame, ip, *rep);
  } else if (const auto* rej = std::get_if<softroce::CmRej>(&cm->message)) {
    AddRej(frame, ip, *rej);
  } else if (const auto* dreq = std::get_if<softroce::CmDreq>(&cm->message)) {
    AddDreq(frame, ip, *dreq);
  }
}

void RoceDecoder::AddReq(int frame, const IpPacket& ip,
                         const softroce::CmReq& req) {
  const Local key{ip.source.HostString(), req.local_comm_id};
  if (const auto it = by_client_comm_id_.find(key);
      it != by_client_comm_id_.end() &&
      connections_[it->second].client_qpn == req.qpn) {
    return;  // sent again
  }
  Connection connection;
  Endpoints endpoints{"RoCEv2", ip.source, ip.destination};
  endpoints.client.set_port(req.source_port);
  endpoints.server.set_port(static_cast<uint16_t>(req.service_id));
  connection.id = sink_->OnRequest(frame, endpoints, req.private_data);
  connection.client_comm_id = req.local_comm_id;
  connection.client_qpn = req.qpn;
  connection.flows[static_cast<int>(Sender::kServer)].expected_psn =
      req.starting_psn;
  if (req.retry_count != 7 || req.rnr_retry_count != 7) {
    Problem(frame, connection,
            absl::StrFormat("REQ with retry count %d and RNR retry count %d, "
                            "both must be 7",
                            req.retry_count, req.rnr_retry_count));
  }
  if (req.responder_resources != 0 || req.initiator_depth != 0) {
    Problem(frame, connection, "REQ that asks for RDMA reads");
  }
  by_client_comm_id_[key] = connections_.size();
  by_qpn_[{ip.source.HostString(), req.qpn}] = {connections_.size(),
                                                Sender::kClient};
  connections_.push_back(connection);
}

void RoceDecoder::AddRep(int frame, const IpPacket& ip,
                         const softroce::CmRep& rep) {
  const auto it = by_client_comm_id_.find(
      {ip.destination.HostString(), rep.remote_comm_id});
  if (it == by_client_comm_id_.end()) return;
  Connection& connection = connections_[it->second];
  if (connection.accepted || connection.closed) return;  // sent again
  connection.accepted = true;
  connection.server_qpn = rep.qpn;
  connection.flows[static_cast<int>(Sender::kClient)].expected_psn =
      rep.starting_psn;
  by_qpn_[{ip.source.HostString(), rep.qpn}] = {it->second, Sender::kServer};
  if (rep.rnr_retry_count != 7) {
    Problem(frame, connection,
            absl::StrFormat("REP with RNR retry count %d, must be 7",
                            rep.rnr_retry_count));
  }
  sink_->OnAccept(frame, connection.id, rep.private_data);
}

void RoceDecoder::AddRej(int frame, const IpPacket& ip,
                         const softroce::CmRej& rej) {
  const auto it = by_client_comm_id_.find(
      {ip.destination.HostString(), rej.remote_comm_id});
  if (it == by_client_comm_id_.end()) return;
  Connection& connection = connections_[it->second];
  if (connection.accepted || connection.closed) return;
  connection.closed = true;
  sink_->OnReject(frame, connection.id,
                  rej.reason == softroce::RejectReason::kConsumer,
                  absl::StrCat("CM reason ", static_cast<int>(rej.reason)),
                  rej.private_data);
}

void RoceDecoder::AddDreq(int frame, const IpPacket& ip,
                          const softroce::CmDreq& dreq) {
  const auto it = by_qpn_.find({ip.destination.HostString(), dreq.remote_qpn});
  if (it == by_qpn_.end()) return;
  Connection& connection = connections_[it->second.connection];
  if (connection.closed) return;
  connection.closed = true;
  sink_->OnDisconnect(frame, connection.id);
}

void RoceDecoder::AddAck(int frame, const Connection& connection,
                         const Packet& packet) {
  switch (packet.aeth.syndrome) {
    case softroce::kNakInvalidRequest:
    case softroce::kNakRemoteAccess:
    case softroce::kNakRemoteOperation:
      Problem(frame, connection,
              absl::StrFormat("NAK with syndrome 0x%02x, which ends the "
                              "queue pair",
                              packet.aeth.syndrome));
      break;
    default:
      break;
  }
}

void RoceDecoder::AddData(int frame, Connection* connection, Sender sender,
                          const Packet& packet) {
  if (!packet.info->Has(OpcodeInfo::kSend | OpcodeInfo::kWrite)) {
    Problem(frame, *connection,
            absl::StrCat(packet.info->name, ", which RTRS never uses"));
    return;
  }
  Flow& flow = connection->flows[static_cast<int>(sender)];
  const int32_t ahead = softroce::ComparePsn(packet.bth.psn, flow.expected_psn);
  if (ahead < 0) return;  // sent again
  flow.lost = ahead > 0;
  if (flow.lost) return;  // will be sent again
  flow.expected_psn = softroce::AddPsn(flow.expected_psn, 1);
  if (packet.info->Has(OpcodeInfo::kStart) == flow.in_message) {
    Problem(frame, *connection,
            absl::StrCat(packet.info->name, flow.in_message
                                                ? " inside a message"
                                                : " outside of a message"));
    flow.in_message = false;
    return;
  }
  Message& message = flow.message;
  if (packet.info->Has(OpcodeInfo::kStart)) {
    message = Message();
    message.sender = sender;
    message.kind = packet.info->Has(OpcodeInfo::kSend) ? Message::Kind::kSend
                                                       : Message::Kind::kWrite;
    flow.reth = packet.reth;
  }
  message.bytes.insert(message.bytes.end(), packet.payload.begin(),
                       packet.payload.end());
  flow.in_message = !packet.info->Has(OpcodeInfo::kEnd);
  if (flow.in_message) return;
  if (packet.info->Has(OpcodeInfo::kImm)) message.imm = packet.imm;
  if (packet.info->Has(OpcodeInfo::kIeth)) {
    message.invalidated_rkey = packet.invalidate_rkey;
  }
  Deliver(frame, *connection, &flow);
}

void RoceDecoder::Deliver(int frame, const Connection& connection, Flow* flow) {
  Message& message = flow->message;
  if (message.kind == Message::Kind::kSend) {
    sink_->OnMessage(frame, connection.id, message);
    return;
  }
  if (message.bytes.size() != flow->reth.length) {
    Problem(frame, connection,
            absl::StrFormat("RDMA write of %d bytes, its RETH says %d",
                            message.bytes.size(), flow->reth.length));
  }
  const std::optional<uint32_t> imm = message.imm;
  message.imm.reset();
  Message immediate;
  immediate.kind = Message::Kind::kImmediate;
  immediate.sender = message.sender;
  immediate.imm = imm;
  if (!message.bytes.empty()) {
    message.address = flow->reth.address;
    message.rkey = flow->reth.rkey;
    sink_->OnMessage(frame, connection.id, message);
  } else {
    immediate.address = flow->reth.address;
    immediate.rkey = flow->reth.rkey;
  }
  if (imm.has_value()) sink_->OnMessage(frame, connection.id, immediate);
}

void RoceDecoder::Finish(int last_frame) {
  for (const Connection& connection : connections_) {
    for (const Flow& flow : connection.flows) {
      if (!flow.lost) continue;
      Problem(last_frame, connection,
              absl::StrFormat("the capture ends while packet %d is missing",
                              flow.expected_psn));
    }
  }
}

}  // namespace rtrs::pcap
