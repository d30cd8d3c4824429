#include "rtrs/fabric/softroce/cm_messages.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/softroce/packet.h"
#include "rtrs/wire/coding.h"

namespace rtrs::softroce {
namespace {

using wire::GetBe;
using wire::PutBe;

constexpr uint8_t kBaseVersion = 1;
constexpr uint8_t kCmClass = 7;
constexpr uint8_t kCmClassVersion = 2;
constexpr uint8_t kMethodSend = 3;
constexpr size_t kTransactionOffset = 8;
constexpr size_t kAttributeOffset = 16;
constexpr size_t kMessageOffset = 24;
constexpr size_t kReqPrivateOffset = 140;
constexpr size_t kRepPrivateOffset = 36;
constexpr size_t kRejPrivateOffset = 84;
constexpr uint16_t kPermissiveLid = 0xFFFF;

enum Attribute : uint16_t {
  kReq = 0x10,
  kMra = 0x11,
  kRej = 0x12,
  kRep = 0x13,
  kRtu = 0x14,
  kDreq = 0x15,
  kDrep = 0x16,
};

static_assert(kMessageOffset + kReqPrivateOffset + kReqPrivateSize == kMadSize);
static_assert(kMessageOffset + kRepPrivateOffset + kRepPrivateSize == kMadSize);
static_assert(kMessageOffset + kRejPrivateOffset + kRejPrivateSize == kMadSize);

void Put24(uint8_t* p, uint32_t v) {
  p[0] = static_cast<uint8_t>(v >> 16);
  p[1] = static_cast<uint8_t>(v >> 8);
  p[2] = static_cast<uint8_t>(v);
}
uint32_t Get24(const uint8_t* p) {
  return uint32_t{p[0]} << 16 | uint32_t{p[1]} << 8 | p[2];
}

bool IsMappedIpv4(const Gid& gid) {
  static constexpr uint8_t kPrefix[12] = {0, 0, 0, 0, 0,    0,
                                          0, 0, 0, 0, 0xFF, 0xFF};
  return std::memcmp(gid.data(), kPrefix, sizeof(kPrefix)) == 0;
}

// An address of the rdma_cm header: IPv4 in its last four bytes.
void PutCmaAddress(const Gid& gid, bool ipv4, uint8_t* out) {
  std::memset(out, 0, 16);
  std::memcpy(out + (ipv4 ? 12 : 0), gid.data() + (ipv4 ? 12 : 0),
              ipv4 ? 4 : 16);
}
bool SameCmaAddress(const Gid& gid, bool ipv4, const uint8_t* bytes) {
  return ipv4 ? std::memcmp(gid.data() + 12, bytes + 12, 4) == 0
              : std::memcmp(gid.data(), bytes, 16) == 0;
}

void PutIds(uint32_t local, uint32_t remote, uint8_t* m) {
  PutBe<uint32_t>(m, local);
  PutBe<uint32_t>(m + 4, remote);
}

uint16_t EncodeMessage(const CmReq& v, uint8_t* m) {
  PutBe<uint32_t>(m, v.local_comm_id);
  PutBe<uint64_t>(m + 8, v.service_id);
  PutBe<uint64_t>(m + 16, v.ca_guid);
  Put24(m + 32, v.qpn);
  m[35] = v.responder_resources;
  m[39] = v.initiator_depth;
  m[43] = static_cast<uint8_t>(v.cm_response_timeout << 3);  // RC
  Put24(m + 44, v.starting_psn);
  m[47] = static_cast<uint8_t>(v.cm_response_timeout << 3 | v.retry_count);
  PutBe<uint16_t>(m + 48, kDefaultPkey);
  m[50] = static_cast<uint8_t>(v.path_mtu << 4 | v.rnr_retry_count);
  m[51] = static_cast<uint8_t>(v.max_cm_retries << 4);
  PutBe<uint16_t>(m + 52, kPermissiveLid);
  PutBe<uint16_t>(m + 54, kPermissiveLid);
  std::memcpy(m + 56, v.local_gid.data(), 16);
  std::memcpy(m + 72, v.remote_gid.data(), 16);
  Put24(m + 88, v.flow_label << 4);
  m[93] = 64;  // hop limit
  m[95] = static_cast<uint8_t>(v.ack_timeout << 3);
  uint8_t* cma = m + kReqPrivateOffset;
  const bool ipv4 = IsMappedIpv4(v.local_gid);
  cma[1] = ipv4 ? 0x40 : 0x60;
  PutBe<uint16_t>(cma + 2, v.source_port);
  PutCmaAddress(v.local_gid, ipv4, cma + 4);
  PutCmaAddress(v.remote_gid, ipv4, cma + 20);
  std::memcpy(cma + kCmaHeaderSize, v.private_data.data(),
              v.private_data.size());
  return kReq;
}

uint16_t EncodeMessage(const CmRep& v, uint8_t* m) {
  PutIds(v.local_comm_id, v.remote_comm_id, m);
  Put24(m + 12, v.qpn);
  Put24(m + 20, v.starting_psn);
  m[26] = static_cast<uint8_t>(v.target_ack_delay << 3);
  m[27] = static_cast<uint8_t>(v.rnr_retry_count << 5);
  PutBe<uint64_t>(m + 28, v.ca_guid);
  std::memcpy(m + kRepPrivateOffset, v.private_data.data(),
              v.private_data.size());
  return kRep;
}

uint16_t EncodeMessage(const CmRtu& v, uint8_t* m) {
  PutIds(v.local_comm_id, v.remote_comm_id, m);
  return kRtu;
}

uint16_t EncodeMessage(const CmRej& v, uint8_t* m) {
  PutIds(v.local_comm_id, v.remote_comm_id, m);
  m[8] = static_cast<uint8_t>(v.message << 6);
  m[9] = static_cast<uint8_t>(v.info_length << 1);
  PutBe<uint16_t>(m + 10, static_cast<uint16_t>(v.reason));
  std::memcpy(m + 12, v.info.data(), v.info.size());
  std::memcpy(m + kRejPrivateOffset, v.private_data.data(),
              v.private_data.size());
  return kRej;
}

uint16_t EncodeMessage(const CmMra& v, uint8_t* m) {
  PutIds(v.local_comm_id, v.remote_comm_id, m);
  m[8] = static_cast<uint8_t>(v.message << 6);
  m[9] = static_cast<uint8_t>(v.service_timeout << 3);
  return kMra;
}

uint16_t EncodeMessage(const CmDreq& v, uint8_t* m) {
  PutIds(v.local_comm_id, v.remote_comm_id, m);
  Put24(m + 8, v.remote_qpn);
  return kDreq;
}

uint16_t EncodeMessage(const CmDrep& v, uint8_t* m) {
  PutIds(v.local_comm_id, v.remote_comm_id, m);
  return kDrep;
}

absl::StatusOr<CmReq> DecodeReq(const uint8_t* m) {
  CmReq v;
  v.local_comm_id = GetBe<uint32_t>(m);
  v.service_id = GetBe<uint64_t>(m + 8);
  v.ca_guid = GetBe<uint64_t>(m + 16);
  v.qpn = Get24(m + 32);
  v.responder_resources = m[35];
  v.initiator_depth = m[39];
  v.cm_response_timeout = m[43] >> 3;
  const int transport = (m[43] >> 1) & 3;
  v.starting_psn = Get24(m + 44);
  v.retry_count = m[47] & 7;
  v.path_mtu = m[50] >> 4;
  v.rnr_retry_count = m[50] & 7;
  v.max_cm_retries = m[51] >> 4;
  std::memcpy(v.local_gid.data(), m + 56, 16);
  std::memcpy(v.remote_gid.data(), m + 72, 16);
  v.flow_label = Get24(m + 88) >> 4;
  v.ack_timeout = m[95] >> 3;
  if (transport != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("CM REQ: transport ", transport, " is not RC"));
  }
  if (v.path_mtu < 1 || v.path_mtu > 5) {
    return absl::InvalidArgumentError(
        absl::StrCat("CM REQ: path MTU code ", v.path_mtu, " is not in 1..5"));
  }
  const uint8_t* cma = m + kReqPrivateOffset;
  const bool ipv4 = IsMappedIpv4(v.local_gid);
  if (cma[0] != 0 || cma[1] != (ipv4 ? 0x40 : 0x60) ||
      ipv4 != IsMappedIpv4(v.remote_gid) ||
      !SameCmaAddress(v.local_gid, ipv4, cma + 4) ||
      !SameCmaAddress(v.remote_gid, ipv4, cma + 20)) {
    return absl::InvalidArgumentError(
        "CM REQ: no rdma_cm header, or its addresses differ from the GIDs");
  }
  v.source_port = GetBe<uint16_t>(cma + 2);
  std::memcpy(v.private_data.data(), cma + kCmaHeaderSize,
              v.private_data.size());
  return v;
}

CmRep DecodeRep(const uint8_t* m) {
  CmRep v;
  v.local_comm_id = GetBe<uint32_t>(m);
  v.remote_comm_id = GetBe<uint32_t>(m + 4);
  v.qpn = Get24(m + 12);
  v.starting_psn = Get24(m + 20);
  v.target_ack_delay = m[26] >> 3;
  v.rnr_retry_count = m[27] >> 5;
  v.ca_guid = GetBe<uint64_t>(m + 28);
  std::memcpy(v.private_data.data(), m + kRepPrivateOffset,
              v.private_data.size());
  return v;
}

CmRej DecodeRej(const uint8_t* m) {
  CmRej v;
  v.local_comm_id = GetBe<uint32_t>(m);
  v.remote_comm_id = GetBe<uint32_t>(m + 4);
  v.message = m[8] >> 6;
  v.info_length = m[9] >> 1;
  v.reason = static_cast<RejectReason>(GetBe<uint16_t>(m + 10));
  std::memcpy(v.info.data(), m + 12, v.info.size());
  std::memcpy(v.private_data.data(), m + kRejPrivateOffset,
              v.private_data.size());
  return v;
}

absl::StatusOr<CmMessage> DecodeMessage(uint16_t attribute, const uint8_t* m) {
  const uint32_t local = GetBe<uint32_t>(m);
  const uint32_t remote = GetBe<uint32_t>(m + 4);
  switch (attribute) {
    case kReq: {
      RTRS_ASSIGN_OR_RETURN(CmReq req, DecodeReq(m));
      return CmMessage(req);
    }
    case kRep:
      return CmMessage(DecodeRep(m));
    case kRtu:
      return CmMessage(CmRtu{local, remote});
    case kRej:
      return CmMessage(DecodeRej(m));
    case kMra:
      return CmMessage(CmMra{local, remote, static_cast<uint8_t>(m[8] >> 6),
                             static_cast<uint8_t>(m[9] >> 3)});
    case kDreq:
      return CmMessage(CmDreq{local, remote, Get24(m + 8)});
    case kDrep:
      return CmMessage(CmDrep{local, remote});
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("MAD attribute ", attribute, " is not for us"));
  }
}

}  // namespace

Mad EncodeCm(const CmDatagram& v) {
  Mad mad{};
  mad[0] = kBaseVersion;
  mad[1] = kCmClass;
  mad[2] = kCmClassVersion;
  mad[3] = kMethodSend;
  PutBe<uint64_t>(mad.data() + kTransactionOffset, v.transaction_id);
  const uint16_t attribute = std::visit(
      [&mad](const auto& message) {
        return EncodeMessage(message, mad.data() + kMessageOffset);
      },
      v.message);
  PutBe<uint16_t>(mad.data() + kAttributeOffset, attribute);
  return mad;
}

absl::StatusOr<CmDatagram> DecodeCm(absl::Span<const uint8_t> mad) {
  if (mad.size() != kMadSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("MAD of ", mad.size(), " bytes, not 256"));
  }
  if (mad[0] != kBaseVersion || mad[1] != kCmClass ||
      mad[2] != kCmClassVersion || mad[3] != kMethodSend) {
    return absl::InvalidArgumentError(
        absl::StrCat("MAD version ", mad[0], ", class ", mad[1], "/", mad[2],
                     ", method ", mad[3], " is no connection manager message"));
  }
  CmDatagram v;
  v.transaction_id = GetBe<uint64_t>(mad.data() + kTransactionOffset);
  RTRS_ASSIGN_OR_RETURN(
      v.message, DecodeMessage(GetBe<uint16_t>(mad.data() + kAttributeOffset),
                               mad.data() + kMessageOffset));
  return v;
}

}  // namespace rtrs::softroce
