// The part of PathChecker that follows requests and their responses: wire.md
// §3, §4 and §2.4.
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/pcap/path_checker.h"

namespace rtrs::pcap {
namespace {

using wire::IoHeader;
using wire::RtrsType;

bool NewRkey(const wire::ConnectResponse& limits) {
  return (limits.flags & wire::ConnectResponse::kFlagNewRkey) != 0;
}

}  // namespace

void PathChecker::OnRequest(int frame, uint16_t cid, uint32_t imm,
                            const Message& write) {
  const wire::IoRequestImm v =
      wire::DecodeIoRequestImm(imm, wire::MemBits(limits_->queue_depth));
  if (v.buf_id >= chunks_.size() || v.offset >= chunk_size_) {
    Problem(frame, cid,
            absl::StrFormat("request for chunk %d offset %d, there are %d of "
                            "%d bytes",
                            v.buf_id, v.offset, chunks_.size(), chunk_size_));
    return;
  }
  const Chunk& chunk = chunks_[v.buf_id];
  if (write.rkey != chunk.rkey) {
    Problem(frame, cid,
            absl::StrFormat("chunk %d written with rkey 0x%x, it has 0x%x",
                            v.buf_id, write.rkey, chunk.rkey));
  }
  // Offsets in the chunk: where the write begins, then the RTRS message.
  const uint64_t begin = write.address - chunk.address;
  if (write.address < chunk.address || begin > chunk_size_ ||
      write.bytes.size() > chunk_size_ - begin) {
    Problem(frame, cid,
            absl::StrFormat("write of %d bytes at 0x%x is not within chunk %d "
                            "at 0x%x",
                            write.bytes.size(), write.address, v.buf_id,
                            chunk.address));
    return;
  }
  const uint64_t end = begin + write.bytes.size();
  if (v.offset < begin || v.offset > end) {
    Problem(frame, cid,
            absl::StrFormat("RTRS message at offset %d, written was %d to %d",
                            v.offset, begin, end));
    return;
  }
  const auto bytes = absl::MakeConstSpan(write.bytes);
  const auto header = wire::DecodeIoHeader(bytes.subspan(v.offset - begin));
  if (!header.ok()) {
    Problem(frame, cid, absl::StrCat(header.status().message()));
    return;
  }
  Request request;
  request.frame = frame;
  request.cid = cid;
  request.header = *header;
  if (header->usr_len > v.offset) {
    Problem(frame, cid,
            absl::StrFormat("user message of %d bytes in front of offset %d",
                            header->usr_len, v.offset));
    return;
  }
  request.data_len = v.offset - header->usr_len;
  uint8_t scratch[IoHeader::kMaxSize];
  const uint64_t expected_end =
      v.offset + wire::EncodeIoHeader(*header, scratch);
  const uint64_t expected_begin =
      header->type == RtrsType::kRead ? request.data_len : 0;
  if (begin != expected_begin || end != expected_end) {
    Problem(frame, cid,
            absl::StrFormat("chunk written from %d to %d, this %s goes from %d "
                            "to %d",
                            begin, end,
                            header->type == RtrsType::kRead ? "READ" : "WRITE",
                            expected_begin, expected_end));
    if (begin > request.data_len) return;  // no user message to look at
  }
  CheckRequestLimits(frame, request);
  for (std::string& problem : rnbd_->OnRequest(
           bytes.subspan(request.data_len - begin, header->usr_len),
           &request)) {
    Problem(frame, cid, problem);
  }
  ConnectionSummary& summary = report_->connection(connections_[cid].id);
  ++summary.requests[request.operation.empty() ? "unknown" : request.operation];
  Trace(frame, cid, Sender::kClient,
        absl::StrCat("chunk ", v.buf_id, " ", request.description));
  const auto [it, added] = requests_.try_emplace(v.buf_id);
  if (!added) {
    Problem(frame, cid,
            absl::StrFormat("chunk %d used again before the response to frame "
                            "%d",
                            v.buf_id, it->second.frame));
  }
  it->second = std::move(request);
}

void PathChecker::CheckRequestLimits(int frame, const Request& request) {
  const IoHeader& header = request.header;
  if (request.data_len > limits_->max_io_size) {
    Problem(frame, request.cid,
            absl::StrFormat("request with %d bytes of data, at most %d",
                            request.data_len, limits_->max_io_size));
  }
  if (header.type != RtrsType::kRead) return;
  if (header.has_descriptor != (request.data_len != 0)) {
    Problem(frame, request.cid,
            header.has_descriptor ? "READ of nothing with a descriptor"
                                  : "READ of data without a descriptor");
  } else if (header.has_descriptor &&
             header.descriptor.length != request.data_len) {
    Problem(frame, request.cid,
            absl::StrFormat("READ of %d bytes with a descriptor of %d",
                            request.data_len, header.descriptor.length));
  }
}

void PathChecker::OnServerWrite(int frame, uint16_t cid,
                                const Message& message) {
  for (auto& [buf_id, request] : requests_) {
    const wire::Descriptor& d = request.header.descriptor;
    if (request.cid != cid || !request.header.has_descriptor ||
        request.data_written || d.address != message.address ||
        d.rkey != message.rkey) {
      continue;
    }
    if (message.bytes.size() != d.length) {
      Problem(frame, cid,
              absl::StrFormat("%d bytes written for chunk %d, its descriptor "
                              "has %d",
                              message.bytes.size(), buf_id, d.length));
    }
    request.data_written = true;
    if (request.type != rnbd::wire::RnbdType::kIo) {
      request.reply = message.bytes;
    }
    return;
  }
  Problem(frame, cid,
          absl::StrFormat("RDMA write to 0x%x with rkey 0x%x, which no request "
                          "in flight asked for",
                          message.address, message.rkey));
}

void PathChecker::OnServerSend(int frame, uint16_t cid,
                               const Message& message) {
  if (message.imm.has_value()) {
    const auto v = wire::DecodeRkeyResponse(message.bytes);
    if (!v.ok()) {
      Problem(frame, cid, absl::StrCat(v.status().message()));
      return;
    }
    if (message.bytes.size() != wire::RkeyResponse::kSize) {
      Problem(frame, cid,
              absl::StrCat("RKEY_RSP of ", message.bytes.size(), " bytes"));
    }
    if (!NewRkey(*limits_)) {
      Problem(frame, cid, "RKEY_RSP although NEW_RKEY is off");
    }
    const uint32_t msg_id = wire::DecodeIoResponseImm(*message.imm).msg_id;
    if (v->buf_id != msg_id || v->buf_id >= chunks_.size()) {
      Problem(frame, cid,
              absl::StrFormat("RKEY_RSP for chunk %d in the response for %d",
                              v->buf_id, msg_id));
      return;
    }
    chunks_[v->buf_id].rkey = v->rkey;
    const wire::ImmType type = wire::ImmTypeOf(*message.imm);
    if (type != wire::ImmType::kIoResponse &&
        type != wire::ImmType::kIoResponseInv) {
      Problem(frame, cid,
              absl::StrFormat("RKEY_RSP with immediate 0x%08x", *message.imm));
      return;
    }
    OnResponse(frame, cid, *message.imm);
    return;
  }
  if (!message.invalidated_rkey.has_value() || !message.bytes.empty()) {
    Problem(frame, cid, "SEND of a server that is no response");
    return;
  }
  for (auto& [buf_id, request] : requests_) {
    if (request.cid != cid || !request.header.need_inval ||
        request.invalidated ||
        request.header.descriptor.rkey != *message.invalidated_rkey) {
      continue;
    }
    request.invalidated = true;
    return;
  }
  Problem(frame, cid,
          absl::StrFormat("rkey 0x%x invalidated, which no request in flight "
                          "asked for",
                          *message.invalidated_rkey));
}

void PathChecker::OnResponse(int frame, uint16_t cid, uint32_t imm) {
  const wire::IoResponseImm v = wire::DecodeIoResponseImm(imm);
  const auto it = requests_.find(v.msg_id);
  if (it == requests_.end()) {
    Problem(frame, cid,
            absl::StrFormat("response for chunk %d, which is not in use",
                            v.msg_id));
    return;
  }
  const Request& request = it->second;
  ConnectionSummary& summary = report_->connection(connections_[cid].id);
  ++summary.responses;
  if (v.error != 0) ++summary.errors;
  Trace(frame, cid, Sender::kServer,
        absl::StrCat("chunk ", v.msg_id, " response, error ", v.error));
  if (request.cid != cid) {
    Problem(frame, cid,
            absl::StrCat("response to a request of cid ", request.cid));
  }
  if (v.invalidated != request.invalidated) {
    Problem(frame, cid,
            v.invalidated
                ? "response says invalidated, no rkey was"
                : "an rkey was invalidated, the response does not say so");
  }
  if (request.header.need_inval && !request.invalidated) {
    Problem(frame, cid, "response without the invalidation asked for");
  }
  if (request.header.has_descriptor && v.error == 0 && !request.data_written) {
    Problem(frame, cid, "success of a READ without its data");
  }
  for (const std::string& problem : rnbd_->OnResponse(request, v.error)) {
    Problem(frame, cid, problem);
  }
  requests_.erase(it);
}

}  // namespace rtrs::pcap
