#include "tests/rtrs_server/raw_client.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "rtrs/base/path_spec.h"
#include "rtrs/base/random.h"

namespace rtrs::server {
namespace {

// The bytes of the INFO_RSP land at the end of the staging buffer.
constexpr size_t kInfoRoom = 16 << 10;
// Of a connection; each has room for an RKEY_RSP.
constexpr size_t kMaxReceives = 2048;

}  // namespace

RawClient::RawClient(fabric::Fabric* fabric, const SocketAddress& server,
                     Pump pump)
    : server_(server),
      pump_(std::move(pump)),
      pd_(*fabric->AllocPd()),
      buffer_(kBufferSize),
      staging_(kBufferSize + kInfoRoom),
      buffer_region_(
          *pd_->RegisterMemory(buffer_.data(), buffer_.size(),
                               fabric::kLocalWrite | fabric::kRemoteWrite)),
      staging_region_(*pd_->RegisterMemory(staging_.data(), staging_.size(),
                                           fabric::kLocalWrite)),
      landing_(kMaxCons * kMaxReceives * wire::RkeyResponse::kSize),
      landing_region_(*pd_->RegisterMemory(landing_.data(), landing_.size(),
                                           fabric::kLocalWrite)),
      channel_(*fabric->CreateEventChannel()),
      cq_(*channel_->CreateCq(16384)),
      cons_(kMaxCons) {
  request.cid_num = 1;
  request.recon_cnt = 1;
  request.first_conn = true;
  request.sess_uuid = NewUuid(*Random::System());
  request.paths_uuid = NewUuid(*Random::System());
}

RawClient::~RawClient() = default;

bool RawClient::Wait(const std::function<bool()>& done) {
  for (;;) {
    Drain();
    if (done()) return true;
    if (!pump_(channel_.get())) {
      Drain();
      return done();
    }
  }
}

void RawClient::Drain() {
  channel_->Progress();
  fabric::CmEvent event;
  while (channel_->NextEvent(&event)) {
    auto con = std::find_if(cons_.begin(), cons_.end(), [&](const Con& c) {
      return c.qp.get() == event.qp;
    });
    if (con == cons_.end()) continue;
    switch (event.type) {
      case fabric::CmEvent::Type::kEstablished:
        con->established = true;
        break;
      case fabric::CmEvent::Type::kRejected:
        con->rejected = true;
        break;
      default:
        con->disconnected = true;
        con->reason = std::string(event.status.message());
        con->qp->Disconnect();
    }
    if (con->private_data.empty()) con->private_data = event.private_data;
  }
  std::array<fabric::WorkCompletion, 64> completions;
  int n;
  while ((n = cq_->Poll(absl::MakeSpan(completions))) > 0) {
    for (int i = 0; i < n; ++i) {
      const fabric::WorkCompletion& wc = completions[static_cast<size_t>(i)];
      if (wc.status != fabric::WcStatus::kSuccess) continue;
      if (wc.opcode != fabric::WcOpcode::kRecv &&
          wc.opcode != fabric::WcOpcode::kRecvRdmaWithImm) {
        continue;
      }
      const auto cid = static_cast<uint16_t>(wc.wr_id);
      TakeRkey(wc);
      PostReceive(wc.wr_id);
      if (answer_heartbeats && wc.imm == wire::kHeartbeatImm) {
        SendImm(cid, wire::kHeartbeatAckImm);
      } else {
        messages_.push_back({cid, wc});
      }
    }
  }
}

RawClient::Reply RawClient::Connect(uint16_t cid) {
  request.cid = cid;
  return ConnectRaw(cid, wire::Encode(request));
}

RawClient::Reply RawClient::ConnectRaw(uint16_t cid,
                                       absl::Span<const uint8_t> data) {
  fabric::QueuePairInit init;
  init.pd = pd_.get();
  init.cq = cq_.get();
  init.max_send_wr = 2048;
  init.max_recv_wr = static_cast<uint32_t>(receives) + 8;
  Con& con = cons_[cid];
  con = Con{};
  con.qp = *channel_->CreateQp(init);
  PathSpec spec;
  spec.source.kind = PathEnd::Kind::kIp;
  spec.source.ip = *SocketAddress::Parse(source, 0);
  spec.destination.kind = PathEnd::Kind::kIp;
  spec.destination.ip = server_;
  spec.port = server_.port();
  Reply reply;
  if (!con.qp->Connect(spec, data, absl::Seconds(30)).ok()) return reply;
  Wait([&] { return con.established || con.rejected || con.disconnected; });
  if (!con.established && !con.rejected) return reply;
  reply.rejected = con.rejected;
  auto response = wire::DecodeConnectResponse(con.private_data);
  if (!response.ok()) return reply;
  reply.response = *response;
  reply.error = response->error;
  reply.accepted = con.established && response->error == 0;
  if (reply.accepted) {
    queue_depth_ = response->queue_depth;
    flags_ = response->flags;
    chunk_size_ = response->max_io_size + response->max_hdr_size;
    if (cid == 0) {
      fabric::RecvWr wr;
      wr.wr_id = 0;
      wr.address = staging_.data() + kBufferSize;
      wr.length = kInfoRoom;
      wr.lkey = staging_region_->lkey();
      (void)con.qp->PostRecv(absl::MakeConstSpan(&wr, 1));
    }
    for (uint64_t i = 0; i < receives; ++i) PostReceive(i << 16 | cid);
  }
  return reply;
}

bool RawClient::ConnectAll(uint16_t cid_num) {
  request.cid_num = cid_num;
  for (uint16_t cid = 0; cid < cid_num; ++cid) {
    if (!Connect(cid).accepted) return false;
  }
  return true;
}

uint8_t* RawClient::Landing(uint64_t wr_id) {
  const uint64_t cid = wr_id & 0xffff;
  return &landing_[(cid * kMaxReceives + (wr_id >> 16)) *
                   wire::RkeyResponse::kSize];
}

void RawClient::PostReceive(uint64_t wr_id) {
  fabric::RecvWr wr;
  wr.wr_id = wr_id;
  if (new_rkey()) {
    wr.address = Landing(wr_id);
    wr.length = wire::RkeyResponse::kSize;
    wr.lkey = landing_region_->lkey();
  }
  (void)cons_[wr_id & 0xffff].qp->PostRecv(absl::MakeConstSpan(&wr, 1));
}

void RawClient::TakeRkey(const fabric::WorkCompletion& wc) {
  if (wc.opcode != fabric::WcOpcode::kRecv ||
      (wc.flags & fabric::kWithImm) == 0) {
    return;
  }
  const auto response = wire::DecodeRkeyResponse(
      absl::MakeConstSpan(Landing(wc.wr_id), wc.byte_len));
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(response->buf_id, wire::DecodeIoResponseImm(wc.imm).msg_id);
  ASSERT_LT(response->buf_id, regions_.size());
  regions_[response->buf_id].rkey = response->rkey;
}

void RawClient::Post(uint16_t cid, fabric::SendWr wr,
                     absl::Span<const uint8_t> bytes) {
  fabric::Sge sge;
  if (!bytes.empty()) {
    if (staged_ + bytes.size() > kBufferSize) staged_ = 0;
    std::memcpy(staging_.data() + staged_, bytes.data(), bytes.size());
    sge = {staging_.data() + staged_, static_cast<uint32_t>(bytes.size()),
           staging_region_->lkey()};
    wr.sg_list = absl::MakeConstSpan(&sge, 1);
    staged_ += bytes.size();
  }
  wr.flags = fabric::kSignaled;
  (void)cons_[cid].qp->PostSend(absl::MakeConstSpan(&wr, 1),
                                fabric::Doorbell::kNow);
}

void RawClient::Send(uint16_t cid, absl::Span<const uint8_t> bytes) {
  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kSend;
  Post(cid, wr, bytes);
}

bool RawClient::Info(const std::string& sessname) {
  wire::InfoRequest info;
  info.sessname = sessname;
  Send(0, wire::Encode(info));
  const std::optional<Message> message = Receive();
  if (!message || message->wc.opcode != fabric::WcOpcode::kRecv) return false;
  auto response = wire::DecodeInfoResponse(
      absl::MakeConstSpan(staging_.data() + kBufferSize, message->wc.byte_len),
      queue_depth_, chunk_size_);
  if (!response.ok() ||
      response->descriptors.size() != (new_rkey() ? queue_depth_ : 1)) {
    return false;
  }
  regions_ = response->descriptors;
  return true;
}

bool RawClient::Establish(uint16_t cid_num, const std::string& sessname) {
  return ConnectAll(cid_num) && Info(sessname);
}

void RawClient::WriteChunk(uint16_t cid, uint32_t buf_id, uint32_t offset,
                           absl::Span<const uint8_t> bytes, uint32_t imm) {
  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kRdmaWriteWithImm;
  wr.imm = imm;
  // Chunks lie one behind the other, whatever their rkeys.
  wr.remote_address =
      regions_[0].address + uint64_t{buf_id} * chunk_size_ + offset;
  wr.rkey = Region(buf_id).rkey;
  Post(cid, wr, bytes);
}

void RawClient::SendWrite(uint16_t cid, uint32_t buf_id,
                          absl::Span<const uint8_t> data,
                          absl::Span<const uint8_t> user) {
  wire::IoHeader header;
  header.type = wire::RtrsType::kWrite;
  header.usr_len = static_cast<uint16_t>(user.size());
  std::vector<uint8_t> bytes(data.begin(), data.end());
  bytes.insert(bytes.end(), user.begin(), user.end());
  const auto off = static_cast<uint32_t>(bytes.size());
  std::array<uint8_t, wire::IoHeader::kMaxSize> encoded;
  const size_t length = wire::EncodeIoHeader(header, encoded.data());
  bytes.insert(bytes.end(), encoded.begin(),
               encoded.begin() + static_cast<long>(length));
  WriteChunk(
      cid, buf_id, 0, bytes,
      wire::EncodeIoRequestImm({buf_id, off}, wire::MemBits(queue_depth_)));
}

void RawClient::SendRead(uint16_t cid, uint32_t buf_id,
                         absl::Span<const uint8_t> user,
                         const ReadOptions& options) {
  wire::IoHeader header;
  header.type = wire::RtrsType::kRead;
  header.usr_len = static_cast<uint16_t>(user.size());
  header.need_inval = options.need_inval;
  header.has_descriptor = options.descriptor != 0;
  header.descriptor = {buffer_region_->remote_address(), buffer_region_->rkey(),
                       options.descriptor};
  std::vector<uint8_t> bytes(user.begin(), user.end());
  std::array<uint8_t, wire::IoHeader::kMaxSize> encoded;
  const size_t length = wire::EncodeIoHeader(header, encoded.data());
  bytes.insert(bytes.end(), encoded.begin(),
               encoded.begin() + static_cast<long>(length));
  const auto off = static_cast<uint32_t>(options.data_len + user.size());
  WriteChunk(
      cid, buf_id, options.data_len, bytes,
      wire::EncodeIoRequestImm({buf_id, off}, wire::MemBits(queue_depth_)));
}

void RawClient::SendHeader(uint16_t cid, uint32_t buf_id, uint32_t off,
                           absl::Span<const uint8_t> header) {
  WriteChunk(
      cid, buf_id, off, header,
      wire::EncodeIoRequestImm({buf_id, off}, wire::MemBits(queue_depth_)));
}

void RawClient::SendImm(uint16_t cid, uint32_t imm) {
  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kRdmaWriteWithImm;
  wr.imm = imm;
  Post(cid, wr, {});
}

std::optional<RawClient::Message> RawClient::Receive() {
  Wait([this] {
    return !messages_.empty() ||
           std::any_of(cons_.begin(), cons_.end(),
                       [](const Con& con) { return con.disconnected; });
  });
  if (messages_.empty()) return std::nullopt;
  const Message message = messages_.front();
  messages_.pop_front();
  return message;
}

int RawClient::ReceiveError(uint32_t* buf_id) {
  const std::optional<Message> message = Receive();
  // The form of wire.md §4.5 that goes with the flags, and no other.
  if (!message || (message->wc.flags & fabric::kWithImm) == 0 ||
      message->wc.opcode != (new_rkey() ? fabric::WcOpcode::kRecv
                                        : fabric::WcOpcode::kRecvRdmaWithImm)) {
    return -1;
  }
  const wire::IoResponseImm response =
      wire::DecodeIoResponseImm(message->wc.imm);
  if (buf_id != nullptr) *buf_id = response.msg_id;
  return response.error;
}

bool RawClient::WaitDisconnected(uint16_t cid) {
  return Wait([this, cid] { return cons_[cid].disconnected; });
}

void RawClient::Disconnect() {
  for (Con& con : cons_) {
    if (con.qp != nullptr && con.established) con.qp->Disconnect();
  }
  Wait([this] {
    return std::all_of(cons_.begin(), cons_.end(), [](const Con& con) {
      return !con.established || con.disconnected;
    });
  });
}

}  // namespace rtrs::server
