#include "rtrs/fabric/verbs/translate.h"

#include <endian.h>
#include <gtest/gtest.h>
#include <infiniband/ib.h>

#include <cstring>

#include "rtrs/base/errno_status.h"

namespace rtrs::fabric::verbs {
namespace {

TEST(TranslateSendTest, ImmediateTravelsBigEndian) {
  SendWr wr;
  wr.opcode = WrOpcode::kRdmaWriteWithImm;
  wr.imm = 0x00281020;
  ibv_send_wr out;
  TranslateSend(wr, 0, &out);
  EXPECT_EQ(out.opcode, IBV_WR_RDMA_WRITE_WITH_IMM);
  EXPECT_EQ(be32toh(out.imm_data), 0x00281020u);
}

TEST(TranslateSendTest, AWriteOfNothingNamesNoMemory) {
  SendWr wr;
  wr.opcode = WrOpcode::kRdmaWriteWithImm;
  wr.remote_address = 0x1000;
  wr.rkey = 7;
  ibv_send_wr out;
  TranslateSend(wr, 0, &out);
  EXPECT_EQ(out.wr.rdma.remote_addr, 0u);
  EXPECT_EQ(out.wr.rdma.rkey, 0u);
  TranslateSend(wr, 1, &out);
  EXPECT_EQ(out.wr.rdma.remote_addr, 0x1000u);
  EXPECT_EQ(out.wr.rdma.rkey, 7u);
}

TEST(TranslateSendTest, InvalidateKeyIsInHostOrder) {
  SendWr wr;
  wr.opcode = WrOpcode::kSendWithInv;
  wr.invalidate_rkey = 0x12345678;
  wr.flags = kSignaled | kSolicited;
  ibv_send_wr out;
  TranslateSend(wr, 0, &out);
  EXPECT_EQ(out.invalidate_rkey, 0x12345678u);
  EXPECT_EQ(out.send_flags,
            static_cast<unsigned>(IBV_SEND_SIGNALED | IBV_SEND_SOLICITED));
}

TEST(TranslateCompletionTest, ReceiveWithImmediate) {
  ibv_wc wc{};
  wc.opcode = IBV_WC_RECV_RDMA_WITH_IMM;
  wc.wc_flags = IBV_WC_WITH_IMM;
  wc.imm_data = htobe32(0x80000000);
  wc.byte_len = 36;
  const WorkCompletion out = TranslateCompletion(wc, nullptr);
  EXPECT_EQ(out.opcode, WcOpcode::kRecvRdmaWithImm);
  EXPECT_EQ(out.flags, kWithImm);
  EXPECT_EQ(out.imm, 0x80000000u);
  EXPECT_EQ(out.byte_len, 36u);
}

TEST(TranslateCompletionTest, ReceiveWithInvalidate) {
  ibv_wc wc{};
  wc.opcode = IBV_WC_RECV;
  wc.wc_flags = IBV_WC_WITH_INV;
  wc.invalidated_rkey = 99;
  const WorkCompletion out = TranslateCompletion(wc, nullptr);
  EXPECT_EQ(out.flags, kWithInv);
  EXPECT_EQ(out.invalidated_rkey, 99u);
}

TEST(TranslateStatusTest, EveryErrorIsAnError) {
  for (int status = IBV_WC_SUCCESS + 1; status <= IBV_WC_TM_ERR; ++status) {
    EXPECT_NE(TranslateStatus(static_cast<ibv_wc_status>(status)),
              WcStatus::kSuccess);
  }
  EXPECT_EQ(TranslateStatus(IBV_WC_REM_ACCESS_ERR), WcStatus::kRemoteAccess);
  EXPECT_EQ(TranslateStatus(IBV_WC_WR_FLUSH_ERR), WcStatus::kFlushed);
}

TEST(TranslateAccessTest, RemoteWriteIncludesLocalWrite) {
  EXPECT_EQ(TranslateAccess(kRemoteWrite),
            IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
  EXPECT_EQ(TranslateAccess(0), 0);
}

TEST(CmAddressTest, IpTakesThePort) {
  PathEnd end;
  end.kind = PathEnd::Kind::kIp;
  end.ip = *SocketAddress::Parse("192.0.2.1", 1);
  const CmAddress address = ToCmAddress(end, 1234);
  sockaddr_in in;
  std::memcpy(&in, &address.storage, sizeof(in));
  EXPECT_EQ(in.sin_family, AF_INET);
  EXPECT_EQ(ntohs(in.sin_port), 1234);
  EXPECT_EQ(PortSpaceOf(end), RDMA_PS_TCP);
}

TEST(CmAddressTest, GidBecomesTheServiceIdOfThePort) {
  const PathSpec path =
      *ParsePathSpec("gid:fe80:0000:0000:0000:0002:c903:0010:c0f5", 1234);
  const CmAddress address = ToCmAddress(path.destination, path.port);
  sockaddr_ib ib;
  std::memcpy(&ib, &address.storage, sizeof(ib));
  EXPECT_EQ(ib.sib_family, AF_IB);
  EXPECT_EQ(be64toh(ib.sib_sid), 0x00000000013F0000u + 1234);
  EXPECT_EQ(be64toh(ib.sib_sid_mask), ~uint64_t{0});
  EXPECT_EQ(be16toh(ib.sib_pkey), 0xffff);
  EXPECT_EQ(ib.sib_addr.sib_raw[0], 0xfe);
  EXPECT_EQ(ib.sib_addr.sib_raw[15], 0xf5);
  EXPECT_EQ(PortSpaceOf(path.destination), RDMA_PS_IB);
}

TEST(FromCmAddressTest, AGidIsNoIpAddress) {
  sockaddr_storage storage{};
  storage.ss_family = AF_IB;
  EXPECT_FALSE(
      FromCmAddress(reinterpret_cast<const sockaddr*>(&storage)).is_set());
}

TEST(RejectStatusTest, SaysWhatTheReasonMeans) {
  const SocketAddress peer = *SocketAddress::Parse("192.0.2.1", 1234);
  EXPECT_EQ(ErrnoOf(RejectStatus(8, peer)), ECONNREFUSED);
  EXPECT_EQ(ErrnoOf(RejectStatus(10, peer)), ECONNRESET);
  EXPECT_EQ(ErrnoOf(RejectStatus(kConsumerReject, peer)), ECONNREFUSED);
}

}  // namespace
}  // namespace rtrs::fabric::verbs
