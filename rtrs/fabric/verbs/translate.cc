#include "rtrs/fabric/verbs/translate.h"

#include <endian.h>
#include <errno.h>
#include <infiniband/ib.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"

namespace rtrs::fabric::verbs {

namespace {

// Service ids of the port space RDMA_PS_IB, and the default partition.
constexpr uint64_t kIbServicePrefix = 0x00000000013F0000;
constexpr uint16_t kDefaultPkey = 0xffff;

ibv_wr_opcode TranslateOpcode(WrOpcode opcode) {
  switch (opcode) {
    case WrOpcode::kSend:
      return IBV_WR_SEND;
    case WrOpcode::kSendWithImm:
      return IBV_WR_SEND_WITH_IMM;
    case WrOpcode::kSendWithInv:
      return IBV_WR_SEND_WITH_INV;
    case WrOpcode::kRdmaWrite:
      return IBV_WR_RDMA_WRITE;
    case WrOpcode::kRdmaWriteWithImm:
      return IBV_WR_RDMA_WRITE_WITH_IMM;
  }
  return IBV_WR_SEND;
}

}  // namespace

void TranslateSend(const SendWr& wr, uint64_t length, ibv_send_wr* out) {
  std::memset(out, 0, sizeof(*out));
  out->wr_id = wr.wr_id;
  out->opcode = TranslateOpcode(wr.opcode);
  if (wr.flags & kSignaled) out->send_flags |= IBV_SEND_SIGNALED;
  if (wr.flags & kSolicited) out->send_flags |= IBV_SEND_SOLICITED;
  if ((wr.flags & kInline) && length > 0) out->send_flags |= IBV_SEND_INLINE;
  switch (wr.opcode) {
    case WrOpcode::kSendWithInv:
      out->invalidate_rkey = wr.invalidate_rkey;
      break;
    case WrOpcode::kSendWithImm:
    case WrOpcode::kRdmaWriteWithImm:
      out->imm_data = htobe32(wr.imm);
      break;
    case WrOpcode::kSend:
    case WrOpcode::kRdmaWrite:
      break;
  }
  if (length > 0 && (wr.opcode == WrOpcode::kRdmaWrite ||
                     wr.opcode == WrOpcode::kRdmaWriteWithImm)) {
    out->wr.rdma.remote_addr = wr.remote_address;
    out->wr.rdma.rkey = wr.rkey;
  }
}

WcStatus TranslateStatus(ibv_wc_status status) {
  switch (status) {
    case IBV_WC_SUCCESS:
      return WcStatus::kSuccess;
    case IBV_WC_WR_FLUSH_ERR:
      return WcStatus::kFlushed;
    case IBV_WC_LOC_LEN_ERR:
      return WcStatus::kLocalLength;
    case IBV_WC_LOC_PROT_ERR:
    case IBV_WC_LOC_ACCESS_ERR:
    case IBV_WC_MW_BIND_ERR:
      return WcStatus::kLocalProtection;
    case IBV_WC_REM_ACCESS_ERR:
      return WcStatus::kRemoteAccess;
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_REM_OP_ERR:
      return WcStatus::kRemoteInvalid;
    case IBV_WC_RETRY_EXC_ERR:
      return WcStatus::kRetryExceeded;
    case IBV_WC_RNR_RETRY_EXC_ERR:
      return WcStatus::kRnrRetryExceeded;
    default:
      return WcStatus::kFatal;
  }
}

WorkCompletion TranslateCompletion(const ibv_wc& wc, QueuePair* qp) {
  WorkCompletion out;
  out.wr_id = wc.wr_id;
  out.qp = qp;
  out.status = TranslateStatus(wc.status);
  if (out.status != WcStatus::kSuccess) return out;
  switch (wc.opcode) {
    case IBV_WC_RECV:
      out.opcode = WcOpcode::kRecv;
      break;
    case IBV_WC_RECV_RDMA_WITH_IMM:
      out.opcode = WcOpcode::kRecvRdmaWithImm;
      break;
    case IBV_WC_RDMA_WRITE:
      out.opcode = WcOpcode::kRdmaWrite;
      break;
    default:
      out.opcode = WcOpcode::kSend;
  }
  if (wc.opcode & IBV_WC_RECV) {
    out.byte_len = wc.byte_len;
    if (wc.wc_flags & IBV_WC_WITH_IMM) {
      out.flags |= kWithImm;
      out.imm = be32toh(wc.imm_data);
    } else if (wc.wc_flags & IBV_WC_WITH_INV) {
      out.flags |= kWithInv;
      out.invalidated_rkey = wc.invalidated_rkey;
    }
  }
  return out;
}

int TranslateAccess(uint32_t access) {
  int flags = 0;
  if (access & kLocalWrite) flags |= IBV_ACCESS_LOCAL_WRITE;
  // Verbs demand local write where the peer may write.
  if (access & kRemoteWrite) {
    flags |= IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE;
  }
  if (access & kBindWindows) flags |= IBV_ACCESS_MW_BIND;
  return flags;
}

unsigned int QueuePairAccess(const DeviceAttr& device) {
  return IBV_ACCESS_REMOTE_WRITE |
         (device.memory_windows ? IBV_ACCESS_MW_BIND : 0);
}

CmAddress ToCmAddress(const PathEnd& end, uint16_t port) {
  CmAddress out;
  switch (end.kind) {
    case PathEnd::Kind::kNone:
      break;
    case PathEnd::Kind::kIp: {
      SocketAddress address = end.ip;
      address.set_port(port);
      std::memcpy(&out.storage, address.addr(), address.length());
      break;
    }
    case PathEnd::Kind::kGid: {
      sockaddr_ib ib{};
      ib.sib_family = AF_IB;
      ib.sib_pkey = htobe16(kDefaultPkey);
      std::memcpy(ib.sib_addr.sib_raw, end.gid.data(), end.gid.size());
      ib.sib_sid = htobe64(kIbServicePrefix | port);
      ib.sib_sid_mask = htobe64(~uint64_t{0});
      std::memcpy(&out.storage, &ib, sizeof(ib));
      break;
    }
  }
  return out;
}

rdma_port_space PortSpaceOf(const PathEnd& end) {
  return end.kind == PathEnd::Kind::kGid ? RDMA_PS_IB : RDMA_PS_TCP;
}

SocketAddress FromCmAddress(const sockaddr* address) {
  const socklen_t length = address->sa_family == AF_INET ? sizeof(sockaddr_in)
                                                         : sizeof(sockaddr_in6);
  absl::StatusOr<SocketAddress> parsed =
      SocketAddress::FromSockaddr(address, length);
  return parsed.ok() ? *parsed : SocketAddress();
}

absl::Status RejectStatus(int reason, const SocketAddress& peer) {
  // Reasons of the InfiniBand connection manager.
  constexpr int kInvalidServiceId = 8;
  constexpr int kStaleConnection = 10;
  switch (reason) {
    case kInvalidServiceId:
      return ErrnoError(ECONNREFUSED,
                        absl::StrCat("nothing listens at ", peer.ToString()));
    case kStaleConnection:
      return ErrnoError(
          ECONNRESET,
          absl::StrCat(peer.ToString(), " still holds an earlier connection"));
    case kConsumerReject:
      return ErrnoError(ECONNREFUSED,
                        absl::StrCat(peer.ToString(), " refuses"));
    default:
      return ErrnoError(
          ECONNREFUSED,
          absl::StrCat(peer.ToString(), " refuses, reason ", reason));
  }
}

}  // namespace rtrs::fabric::verbs
