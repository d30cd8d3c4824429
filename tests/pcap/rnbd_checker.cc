#include "tests/pcap/rnbd_checker.h"

#include <bit>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "rtrs/wire/coding.h"
#include "tests/pcap/message.h"

namespace rtrs::pcap {
namespace {

using rnbd::wire::Op;
using rnbd::wire::RnbdType;
using wire::RtrsType;

constexpr uint32_t kDefinedFlags =
    rnbd::wire::Io::kSync | rnbd::wire::Io::kFua | rnbd::wire::Io::kPreflush |
    rnbd::wire::Io::kNoUnmap;
constexpr size_t kIoOpAndFlags = 16;
constexpr size_t kOpenRspReserved = 46;

const char* KindName(RtrsType type) {
  return type == RtrsType::kWrite ? "WRITE" : "READ";
}

}  // namespace

void RnbdChecker::Reset(bool complete) {
  complete_ = complete;
  sess_info_ = false;
  open_.clear();
  ever_open_.clear();
}

void RnbdChecker::CheckShape(const Request& request, RtrsType type,
                             uint32_t usr_len, uint32_t data_len,
                             Problems* problems) {
  if (request.header.type != type) {
    problems->push_back(absl::StrCat(request.operation, " as RTRS ",
                                     KindName(request.header.type),
                                     ", must be ", KindName(type)));
  }
  if (request.header.usr_len != usr_len || request.data_len != data_len) {
    problems->push_back(
        absl::StrFormat("%s with usr_len %d and data_len %d, must be %d and %d",
                        request.operation, request.header.usr_len,
                        request.data_len, usr_len, data_len));
  }
}

RnbdChecker::Problems RnbdChecker::OnRequest(absl::Span<const uint8_t> user,
                                             Request* request) {
  Problems problems;
  const auto type = rnbd::wire::DecodeType(user);
  if (!type.ok()) return {absl::StrCat(type.status().message())};
  request->type = *type;
  absl::Status status;
  switch (*type) {
    case RnbdType::kSessInfo: {
      request->operation = "SESS_INFO";
      CheckShape(*request, RtrsType::kRead, 36, 36, &problems);
      const auto v = rnbd::wire::DecodeSessInfo(user);
      status = v.status();
      if (v.ok()) {
        request->description = absl::StrCat("SESS_INFO version ", v->version);
      }
      break;
    }
    case RnbdType::kOpen: {
      request->operation = "OPEN";
      CheckShape(*request, RtrsType::kRead, 264, 56, &problems);
      const auto v = rnbd::wire::DecodeOpen(user);
      status = v.status();
      if (v.ok()) {
        request->description =
            absl::StrCat("OPEN \"", v->device_name, "\" ",
                         rnbd::wire::AccessModeName(v->access_mode));
      }
      if (complete_ && !sess_info_) problems.push_back("OPEN before SESS_INFO");
      break;
    }
    case RnbdType::kClose: {
      request->operation = "CLOSE";
      CheckShape(*request, RtrsType::kWrite, 8, 0, &problems);
      const auto v = rnbd::wire::DecodeClose(user);
      status = v.status();
      if (v.ok()) {
        request->device_id = v->device_id;
        request->description = absl::StrCat("CLOSE device ", v->device_id);
        if (complete_ && open_.count(v->device_id) == 0) {
          problems.push_back(
              absl::StrCat("CLOSE of device ", v->device_id, ", not open"));
        }
      }
      break;
    }
    case RnbdType::kIo:
      problems = CheckIo(user, request);
      break;
    case RnbdType::kSessInfoRsp:
    case RnbdType::kOpenRsp:
      problems.push_back("a request with the type of a response");
      break;
  }
  if (!status.ok()) problems.emplace_back(status.message());
  if (*type != RnbdType::kIo && request->cid != 0) {
    problems.push_back(
        absl::StrCat(request->operation, " on cid ", request->cid));
  }
  return problems;
}

RnbdChecker::Problems RnbdChecker::CheckIo(absl::Span<const uint8_t> user,
                                           Request* request) {
  Problems problems;
  const auto v = rnbd::wire::DecodeIo(user);
  if (!v.ok()) return {absl::StrCat(v.status().message())};
  request->io = *v;
  request->device_id = v->device_id;
  request->operation = rnbd::wire::OpName(v->op);
  request->description = absl::StrFormat(
      "%s device %d sector %d length %d flags 0x%x", request->operation,
      v->device_id, v->sector, v->length, v->flags);
  const uint32_t flags =
      wire::GetLe<uint32_t>(user.data() + kIoOpAndFlags) & ~uint32_t{0xff};
  if ((flags & ~kDefinedFlags) != 0) {
    problems.push_back(absl::StrFormat("%s with unknown flags 0x%x",
                                       request->operation,
                                       flags & ~kDefinedFlags));
  }
  const bool moves_data = v->op == Op::kRead || v->op == Op::kWrite;
  const bool is_read = v->op == Op::kRead || v->op == Op::kFlush;
  CheckShape(*request, is_read ? RtrsType::kRead : RtrsType::kWrite,
             rnbd::wire::Io::kSize, moves_data ? v->length : 0, &problems);
  if (v->length % rnbd::wire::kSectorSize != 0) {
    problems.push_back(absl::StrCat(request->operation, " of ", v->length,
                                    " bytes, not whole sectors"));
  }
  if (v->op == Op::kFlush && v->length != 0) {
    problems.push_back(absl::StrCat("flush of ", v->length, " bytes"));
  }
  if (request->cid == 0) {
    problems.push_back(
        absl::StrCat(request->operation, " on the service connection"));
  }
  if (complete_ && open_.count(v->device_id) == 0) {
    problems.push_back(absl::StrCat(request->operation, " for device ",
                                    v->device_id, ", not open"));
  }
  return problems;
}

RnbdChecker::Problems RnbdChecker::CheckOpenRsp(
    absl::Span<const uint8_t> reply) {
  Problems problems;
  const auto v = rnbd::wire::DecodeOpenRsp(reply);
  if (!v.ok()) return {absl::StrCat(v.status().message())};
  open_.insert(v->device_id);
  ever_open_.insert(v->device_id);
  const uint32_t logical = v->logical_block_size;
  if (!std::has_single_bit(logical) || logical < rnbd::wire::kSectorSize) {
    problems.push_back(
        absl::StrCat("OPEN_RSP with a logical block size of ", logical));
  }
  if (v->max_discard_sectors != 0 && v->discard_granularity == 0) {
    problems.push_back("OPEN_RSP with discard but no granularity");
  }
  if (!AllZero(reply.subspan(2, 2)) ||
      (!write_verifier_ && !AllZero(reply.subspan(kOpenRspReserved)))) {
    problems.push_back("OPEN_RSP with reserved bytes that are not zero");
  }
  return problems;
}

RnbdChecker::Problems RnbdChecker::OnResponse(const Request& request,
                                              int error) {
  if (!request.type.has_value()) return {};
  switch (*request.type) {
    case RnbdType::kSessInfo: {
      if (error != 0) return {};
      sess_info_ = true;
      const auto v = rnbd::wire::DecodeSessInfoRsp(request.reply);
      if (!v.ok()) return {absl::StrCat(v.status().message())};
      const auto reply = absl::MakeConstSpan(request.reply);
      if (!AllZero(reply.subspan(2, 2)) || !AllZero(reply.subspan(5))) {
        return {"SESS_INFO_RSP with reserved bytes that are not zero"};
      }
      if (v->version > rnbd::wire::kProtocolMajor) {
        return {absl::StrCat("SESS_INFO_RSP with version ", v->version)};
      }
      return {};
    }
    case RnbdType::kOpen:
      return error == 0 ? CheckOpenRsp(request.reply) : Problems();
    case RnbdType::kClose:
      open_.erase(request.device_id);
      if (error != 0) return {"CLOSE that failed, its status is always 0"};
      return {};
    default:
      return {};
  }
}

// One that waited for its turn may come after the device was closed.
RnbdChecker::Problems RnbdChecker::OnNotice(uint32_t device_id) const {
  if (!complete_ || ever_open_.count(device_id) != 0) return {};
  return {absl::StrCat("notice of device ", device_id, ", never open")};
}

}  // namespace rtrs::pcap
