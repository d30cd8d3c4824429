#include "tests/client/fake_server.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "rtrs/wire/immediate.h"

namespace rtrs::client {
namespace {

void Check(const absl::Status& status) {
  if (status.ok()) return;
  fprintf(stderr, "fake server: %s\n", status.ToString().c_str());
  abort();
}

template <typename T>
T Take(absl::StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}

}  // namespace

FakeServer::FakeServer(fabric::Fabric* fabric, const std::string& address,
                       Config c)
    : config(c),
      channel_(Take(fabric->CreateEventChannel())),
      pd_(Take(fabric->AllocPd())),
      cq_(Take(channel_->CreateCq(65536))),
      chunks_(size_t{chunk_size()} * config.queue_depth),
      listener_(Take(channel_->Listen(*SocketAddress::Parse(address, 0), 64))) {
}

FakeServer::~FakeServer() { paths_.clear(); }

bool FakeServer::Step() {
  bool busy = channel_->Progress();
  fabric::CmEvent event;
  while (channel_->NextEvent(&event)) {
    busy = true;
    if (event.type == fabric::CmEvent::Type::kConnectRequest) {
      OnConnect(std::move(event));
    } else if (event.type == fabric::CmEvent::Type::kDisconnected) {
      ++disconnects_;
      event.qp->Disconnect();
    }
    event = fabric::CmEvent();
  }
  std::array<fabric::WorkCompletion, 16> batch;
  int n;
  while ((n = cq_->Poll(absl::MakeSpan(batch))) > 0) {
    busy = true;
    for (int i = 0; i < n; ++i) {
      const fabric::WorkCompletion& wc = batch[static_cast<size_t>(i)];
      auto* const con = static_cast<Con*>(wc.qp->context());
      if (wc.status != fabric::WcStatus::kSuccess) continue;
      if (wc.opcode == fabric::WcOpcode::kRecv) {
        OnInfo(con->path);
      } else if (wc.opcode == fabric::WcOpcode::kRecvRdmaWithImm) {
        PostEmptyReceive(con);
        if (wc.imm == wire::kHeartbeatImm) {
          ++heartbeats;
        } else if (wc.imm == wire::kHeartbeatAckImm) {
          ++heartbeat_acks;
        } else if (wire::ImmTypeOf(wc.imm) == wire::ImmType::kFence) {
          fences.push_back(wc.imm);
        } else if (wire::ImmTypeOf(wc.imm) == wire::ImmType::kNoticeAck) {
          notice_acks.push_back(wire::DecodeNoticeImm(wc.imm));
        } else {
          OnRequest(con, wc.imm);
        }
      }
    }
  }
  channel_->Flush();
  return busy;
}

void FakeServer::OnConnect(fabric::CmEvent event) {
  const wire::ConnectRequest request =
      Take(wire::DecodeConnectRequest(event.request->private_data()));
  connects.push_back(request);
  const int error = on_connect ? on_connect(request) : 0;
  wire::ConnectResponse response;
  if (error != 0) {
    response.error = error;
    if (error < 0) {
      event.request->Reject({});
    } else {
      event.request->Reject(wire::Encode(response));
    }
    return;
  }
  auto side = std::find_if(paths_.begin(), paths_.end(), [&](const auto& p) {
    return p.uuid == request.sess_uuid;
  });
  if (side == paths_.end()) {
    paths_.emplace_back();
    side = paths_.end() - 1;
    side->uuid = request.sess_uuid;
    side->info.resize(wire::InfoRequest::kSize);
    side->info_region = Take(pd_->RegisterMemory(
        side->info.data(), side->info.size(), fabric::kLocalWrite));
    const uint32_t count =
        config.new_rkey ? config.queue_depth : config.info_regions;
    const size_t length = chunks_.size() / count;
    for (uint32_t i = 0; i < count; ++i) {
      side->regions.push_back(Take(
          pd_->RegisterMemory(chunks_.data() + i * length, length,
                              fabric::kLocalWrite | fabric::kRemoteWrite)));
    }
  }
  auto con = std::make_unique<Con>();
  con->path = static_cast<size_t>(side - paths_.begin());
  con->cid = request.cid;
  fabric::QueuePairInit init;
  init.pd = pd_.get();
  init.cq = cq_.get();
  init.max_send_wr = 4096;
  init.max_recv_wr = 1024;
  init.context = con.get();
  con->qp = Take(channel_->CreateQp(init));
  if (request.cid == 0) {
    fabric::RecvWr wr;
    wr.address = side->info.data();
    wr.length = wire::InfoRequest::kSize;
    wr.lkey = side->info_region->lkey();
    Check(con->qp->PostRecv({&wr, 1}));
  }
  response.queue_depth = config.queue_depth;
  response.max_io_size = config.max_io_size;
  response.max_hdr_size = config.max_hdr_size;
  response.flags = config.new_rkey ? wire::ConnectResponse::kFlagNewRkey : 0;
  response.capabilities.bits = config.capabilities;
  const auto encoded = wire::Encode(response);
  std::vector<uint8_t> bytes(encoded.begin(), encoded.end());
  if (edit_accept) edit_accept(request.cid, bytes);
  Check(con->qp->Accept(std::move(event.request), bytes));
  side->cons[request.cid] = std::move(con);
}

void FakeServer::OnInfo(size_t path) {
  PathSide& side = paths_[path];
  names.push_back(Take(wire::DecodeInfoRequest(side.info)).sessname);
  for (auto& [cid, con] : side.cons) {
    const int count = cid == 0               ? 512
                      : config.post_receives ? config.queue_depth
                                             : 0;
    for (int i = 0; i < count; ++i) PostEmptyReceive(con.get());
  }
  if (on_info && on_info(path)) return;
  wire::InfoResponse info;
  for (const auto& region : side.regions) {
    info.descriptors.push_back({region->remote_address(), region->rkey(),
                                static_cast<uint32_t>(region->length())});
  }
  std::vector<uint8_t> bytes = wire::Encode(info);
  if (edit_info) edit_info(bytes);
  SendBytes(path, 0, bytes);
  side.connected = true;
}

void FakeServer::OnRequest(Con* con, uint32_t imm) {
  const int mem_bits = wire::MemBits(config.queue_depth);
  const wire::IoRequestImm where = wire::DecodeIoRequestImm(imm, mem_bits);
  Received request;
  request.path = con->path;
  request.cid = con->cid;
  request.buf_id = where.buf_id;
  request.offset = where.offset;
  const uint8_t* const chunk =
      chunks_.data() + size_t{chunk_size()} * where.buf_id;
  request.header = Take(wire::DecodeIoHeader(
      {chunk + where.offset, chunk_size() - where.offset}));
  const uint32_t data_len = where.offset - request.header.usr_len;
  request.user_message.assign(chunk + data_len, chunk + where.offset);
  if (request.header.type == wire::RtrsType::kWrite) {
    request.data.assign(chunk, chunk + data_len);
  }
  requests.push_back(request);
  if (config.auto_respond) Respond(request, 0);
}

void FakeServer::Respond(const Received& request, int error,
                         const std::vector<uint8_t>& data) {
  Con* const con = paths_[request.path].cons[request.cid].get();
  if (!data.empty()) {
    const fabric::Sge sge = Keep(data);
    fabric::SendWr wr;
    wr.opcode = fabric::WrOpcode::kRdmaWrite;
    wr.sg_list = {&sge, 1};
    wr.remote_address = request.header.descriptor.address;
    wr.rkey = request.header.descriptor.rkey;
    Post(con, wr);
  }
  const uint32_t imm =
      wire::EncodeIoResponseImm({request.buf_id, error, false});
  if (!config.new_rkey) {
    SendImm(request.path, request.cid, imm);
    return;
  }
  // The old key dies with the request.
  auto& region = paths_[request.path].regions[request.buf_id];
  uint8_t* const address = region->address();
  region.reset();
  region = Take(pd_->RegisterMemory(
      address, chunk_size(), fabric::kLocalWrite | fabric::kRemoteWrite));
  const auto bytes = wire::Encode(wire::RkeyResponse{
      static_cast<uint16_t>(request.buf_id), region->rkey()});
  SendBytes(request.path, request.cid, {bytes.begin(), bytes.end()}, &imm);
}

void FakeServer::SendImm(size_t path, uint16_t cid, uint32_t imm) {
  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kRdmaWriteWithImm;
  wr.imm = imm;
  Post(paths_[path].cons[cid].get(), wr);
}

void FakeServer::SendBytes(size_t path, uint16_t cid,
                           const std::vector<uint8_t>& bytes,
                           const uint32_t* imm) {
  const fabric::Sge sge = Keep(bytes);
  fabric::SendWr wr;
  wr.opcode =
      imm == nullptr ? fabric::WrOpcode::kSend : fabric::WrOpcode::kSendWithImm;
  wr.imm = imm == nullptr ? 0 : *imm;
  wr.sg_list = {&sge, 1};
  Post(paths_[path].cons[cid].get(), wr);
}

void FakeServer::ConfirmFence(size_t path, uint32_t imm) {
  SendImm(path, 0,
          wire::EncodeFenceImm(wire::ImmType::kFenceDone,
                               wire::DecodeFenceImm(imm)));
}

void FakeServer::Restart(Config c) {
  paths_.clear();
  requests.clear();
  config = c;
  chunks_.assign(size_t{chunk_size()} * config.queue_depth, 0);
}

void FakeServer::SendInvalidate(size_t path, uint16_t cid, uint32_t rkey) {
  fabric::SendWr wr;
  wr.opcode = fabric::WrOpcode::kSendWithInv;
  wr.invalidate_rkey = rkey;
  Post(paths_[path].cons[cid].get(), wr);
}

void FakeServer::PostReceive(size_t path, uint16_t cid) {
  PostEmptyReceive(paths_[path].cons[cid].get());
}

void FakeServer::Disconnect(size_t path, uint16_t cid) {
  qp(path, cid)->Disconnect();
}

uint32_t FakeServer::rkey(size_t path, uint32_t buf_id) const {
  return paths_[path].regions[buf_id]->rkey();
}

fabric::QueuePair* FakeServer::qp(size_t path, uint16_t cid) {
  return paths_[path].cons[cid]->qp.get();
}

void FakeServer::PostEmptyReceive(Con* con) {
  const fabric::RecvWr wr;
  Check(con->qp->PostRecv({&wr, 1}));
}

fabric::Sge FakeServer::Keep(const std::vector<uint8_t>& bytes) {
  kept_.push_back(std::make_unique<std::vector<uint8_t>>(bytes));
  kept_regions_.push_back(
      Take(pd_->RegisterMemory(kept_.back()->data(), bytes.size(), 0)));
  return {kept_.back()->data(), static_cast<uint32_t>(bytes.size()),
          kept_regions_.back()->lkey()};
}

void FakeServer::Post(Con* con, fabric::SendWr wr) {
  wr.flags |= fabric::kSignaled;
  Check(con->qp->PostSend({&wr, 1}, fabric::Doorbell::kNow));
}

}  // namespace rtrs::client
