#include "tests/pcap/conversation.h"

#include "absl/strings/str_cat.h"

namespace rtrs::pcap {

wire::ConnectRequest Conversation::FirstRequest() {
  wire::ConnectRequest v;
  v.cid_num = 2;
  v.recon_cnt = 1;
  v.sess_uuid.fill(1);
  v.paths_uuid.fill(2);
  v.first_conn = true;
  return v;
}

wire::ConnectResponse Conversation::FirstResponse() {
  wire::ConnectResponse v;
  v.queue_depth = kQueueDepth;
  v.max_io_size = 4096;
  v.max_hdr_size = kChunkSize - 4096;
  return v;
}

rnbd::wire::OpenRsp Conversation::FirstOpenRsp() {
  rnbd::wire::OpenRsp v;
  v.nsectors = 2048;
  v.logical_block_size = 512;
  v.physical_block_size = 4096;
  return v;
}

ConnectionId Conversation::SendRequest(uint16_t cid) {
  wire::ConnectRequest v = request;
  v.cid = cid;
  Endpoints endpoints{"RoCEv2", SocketAddress::Parse("192.0.2.1", 4000).value(),
                      SocketAddress::Parse("192.0.2.2", 1234).value()};
  ids_[cid] = checker_.OnRequest(++frame_, endpoints, Encode(v));
  return ids_[cid];
}

void Conversation::Connect() {
  if (new_rkey_) response.flags |= wire::ConnectResponse::kFlagNewRkey;
  for (const uint16_t cid : {0, 1}) {
    SendRequest(cid);
    checker_.OnAccept(++frame_, ids_[cid], Encode(response));
  }
}

void Conversation::Exchange() {
  Connect();
  Send(0, Sender::kClient, Encode(info_request));
  Send(0, Sender::kServer, Encode(info_response));
}

void Conversation::Open() {
  using rnbd::wire::SessInfo;
  Exchange();
  wire::IoHeader header{wire::RtrsType::kRead,
                        SessInfo::kSize,
                        false,
                        true,
                        {0x600000, 0x55, SessInfo::kSize}};
  Request(0, 0, SessInfo::kSize, rnbd::wire::EncodeSessInfo({2}), header);
  Write(0, Sender::kServer, 0x600000, 0x55, rnbd::wire::EncodeSessInfoRsp({2}));
  Respond(0, 0);
  header.usr_len = rnbd::wire::Open::kSize;
  header.descriptor.length = rnbd::wire::OpenRsp::kSize;
  Request(
      0, 1, rnbd::wire::OpenRsp::kSize,
      rnbd::wire::Encode(rnbd::wire::Open{rnbd::wire::AccessMode::kRw, "disk"}),
      header);
  Write(0, Sender::kServer, 0x600000, 0x55, rnbd::wire::Encode(open_rsp));
  Respond(0, 1);
}

void Conversation::Send(uint16_t cid, Sender sender,
                        absl::Span<const uint8_t> bytes) {
  Message message;
  message.sender = sender;
  message.bytes.assign(bytes.begin(), bytes.end());
  checker_.OnMessage(++frame_, ids_[cid], message);
}

void Conversation::SendInvalidate(uint16_t cid, uint32_t rkey) {
  Message message;
  message.sender = Sender::kServer;
  message.invalidated_rkey = rkey;
  checker_.OnMessage(++frame_, ids_[cid], message);
}

void Conversation::Write(uint16_t cid, Sender sender, uint64_t address,
                         uint32_t rkey, absl::Span<const uint8_t> bytes) {
  Message message;
  message.kind = Message::Kind::kWrite;
  message.sender = sender;
  message.address = address;
  message.rkey = rkey;
  message.bytes.assign(bytes.begin(), bytes.end());
  checker_.OnMessage(++frame_, ids_[cid], message);
}

void Conversation::Immediate(uint16_t cid, Sender sender, uint32_t imm) {
  Message message;
  message.kind = Message::Kind::kImmediate;
  message.sender = sender;
  message.imm = imm;
  checker_.OnMessage(++frame_, ids_[cid], message);
}

void Conversation::Request(uint16_t cid, uint32_t buf_id, uint32_t data_len,
                           absl::Span<const uint8_t> user,
                           wire::IoHeader header) {
  std::vector<uint8_t> bytes;
  const bool read = header.type == wire::RtrsType::kRead;
  if (!read) bytes.resize(data_len, 0xda);
  bytes.insert(bytes.end(), user.begin(), user.end());
  uint8_t rtrs[wire::IoHeader::kMaxSize];
  bytes.insert(bytes.end(), rtrs, rtrs + EncodeIoHeader(header, rtrs));
  Write(cid, Sender::kClient,
        kChunks + uint64_t{buf_id} * kChunkSize + (read ? data_len : 0),
        chunk_rkeys_[buf_id], bytes);
  Immediate(cid, Sender::kClient,
            wire::EncodeIoRequestImm(
                {buf_id, data_len + static_cast<uint32_t>(user.size())},
                wire::MemBits(kQueueDepth)));
}

void Conversation::Io(uint32_t buf_id, const rnbd::wire::Io& io,
                      bool need_inval) {
  using rnbd::wire::Op;
  uint8_t user[rnbd::wire::Io::kSize];
  EncodeIo(io, user);
  const bool moves_data = io.op == Op::kRead || io.op == Op::kWrite;
  wire::IoHeader header;
  header.usr_len = sizeof(user);
  if (io.op == Op::kRead || io.op == Op::kFlush) {
    header.type = wire::RtrsType::kRead;
    header.has_descriptor = moves_data;
    header.need_inval = need_inval;
    header.descriptor = kBuffer;
    header.descriptor.length = io.length;
  }
  Request(1, buf_id, moves_data ? io.length : 0, user, header);
}

void Conversation::Respond(uint16_t cid, uint32_t buf_id, int error,
                           bool invalidated) {
  const uint32_t imm = wire::EncodeIoResponseImm({buf_id, error, invalidated});
  if (!new_rkey_) {
    Immediate(cid, Sender::kServer, imm);
    return;
  }
  chunk_rkeys_[buf_id] = ++next_rkey_;
  const auto bytes = Encode(
      wire::RkeyResponse{static_cast<uint16_t>(buf_id), chunk_rkeys_[buf_id]});
  Message message;
  message.sender = Sender::kServer;
  message.bytes.assign(bytes.begin(), bytes.end());
  message.imm = imm;
  checker_.OnMessage(++frame_, ids_[cid], message);
}

void Conversation::Disconnect(uint16_t cid) {
  checker_.OnDisconnect(++frame_, ids_[cid]);
}

std::string Conversation::Problems() {
  checker_.Finish();
  std::string text;
  for (const Problem& problem : report_.problems()) {
    absl::StrAppend(&text, problem.text, "\n");
  }
  return text;
}

}  // namespace rtrs::pcap
