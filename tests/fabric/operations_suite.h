// Each operation of fabric.h between two ends of one in-process fabric, each
// test twice. Included by the test of a fabric, which defines OperationsBase
// before: the fixture of that fabric, constructed from a bool that chooses
// between two settings, all of this holds with both.
#ifndef TESTS_FABRIC_OPERATIONS_SUITE_H_
#define TESTS_FABRIC_OPERATIONS_SUITE_H_

#include <algorithm>

#include "tests/fabric/endpoint.h"

namespace rtrs::fabric {
namespace {

class OperationsTest : public OperationsBase,
                       public ::testing::WithParamInterface<bool> {
 protected:
  OperationsTest() : OperationsBase(GetParam()) {}

  void SetUp() override {
    Establish();
    source_ = Counting(1 << 20, 7);
    target_.assign(1 << 20, 0);
    source_mr_ = client_->Register(&source_, 0);
    target_mr_ = server_->Register(&target_);
  }
  SendWr Wr(WrOpcode opcode, size_t offset, size_t length) {
    sge_ = {source_.data() + offset, static_cast<uint32_t>(length),
            source_mr_->lkey()};
    SendWr wr;
    wr.wr_id = 77;
    wr.opcode = opcode;
    wr.flags = kSignaled;
    if (length > 0) wr.sg_list = {&sge_, 1};
    wr.remote_address = target_mr_->remote_address();
    wr.rkey = target_mr_->rkey();
    return wr;
  }
  void Post(const SendWr& wr) {
    ASSERT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).ok());
  }
  // Receives of `length` bytes, numbered from 0.
  void PostReceives(int count, uint32_t length) {
    for (int i = 0; i < count; ++i) {
      const RecvWr wr = {static_cast<uint64_t>(i), target_.data(), length,
                         target_mr_->lkey()};
      ASSERT_TRUE(server_qp_->PostRecv({&wr, 1}).ok());
    }
  }
  // The first `length` bytes of the target are those at `offset` of the
  // source, and the next is untouched.
  bool Arrived(size_t length, size_t offset) const {
    return std::equal(target_.begin(),
                      target_.begin() + static_cast<ssize_t>(length),
                      source_.begin() + static_cast<ssize_t>(offset)) &&
           (length == target_.size() || target_[length] == 0);
  }

  Bytes source_, target_;
  std::unique_ptr<MemoryRegion> source_mr_, target_mr_;
  Sge sge_;
};

INSTANTIATE_TEST_SUITE_P(Both, OperationsTest, ::testing::Bool());

TEST_P(OperationsTest, SendArrivesInTheReceive) {
  PostReceives(1, 100);
  Post(Wr(WrOpcode::kSend, 3, 50));
  Run();
  ASSERT_EQ(server_->completions.size(), 1U);
  const WorkCompletion& wc = server_->completions[0];
  EXPECT_EQ(wc.status, WcStatus::kSuccess);
  EXPECT_EQ(wc.opcode, WcOpcode::kRecv);
  EXPECT_EQ(wc.wr_id, 0U);
  EXPECT_EQ(wc.qp, server_qp_.get());
  EXPECT_EQ(wc.byte_len, 50U);
  EXPECT_EQ(wc.flags, 0);
  EXPECT_TRUE(Arrived(50, 3));
  ASSERT_EQ(client_->completions.size(), 1U);
  EXPECT_EQ(client_->completions[0].status, WcStatus::kSuccess);
  EXPECT_EQ(client_->completions[0].wr_id, 77U);
  EXPECT_EQ(client_->completions[0].opcode, WcOpcode::kSend);
}

TEST_P(OperationsTest, SendOfOddLengthsArrives) {
  for (size_t length = 0; length < 20; ++length) {
    PostReceives(1, 100);
    Post(Wr(WrOpcode::kSend, length, length));
    Run();
    ASSERT_EQ(server_->completions.back().status, WcStatus::kSuccess);
    ASSERT_EQ(server_->completions.back().byte_len, length);
    ASSERT_TRUE(Arrived(length, length));
  }
}

TEST_P(OperationsTest, WriteArrivesWithoutCompletion) {
  Post(Wr(WrOpcode::kRdmaWrite, 1, 4096));
  Run();
  EXPECT_TRUE(server_->completions.empty());
  EXPECT_TRUE(Arrived(4096, 1));
  ASSERT_EQ(client_->completions.size(), 1U);
  EXPECT_EQ(client_->completions[0].opcode, WcOpcode::kRdmaWrite);
}

TEST_P(OperationsTest, WriteWithImmediateCompletesAReceiveOfLengthZero) {
  const RecvWr recv = {5, nullptr, 0, 0};
  ASSERT_TRUE(server_qp_->PostRecv({&recv, 1}).ok());
  SendWr wr = Wr(WrOpcode::kRdmaWriteWithImm, 0, 4096);
  wr.imm = 0x20000005;
  Post(wr);
  Run();
  ASSERT_EQ(server_->completions.size(), 1U);
  const WorkCompletion& wc = server_->completions[0];
  EXPECT_EQ(wc.opcode, WcOpcode::kRecvRdmaWithImm);
  EXPECT_EQ(wc.wr_id, 5U);
  EXPECT_EQ(wc.flags, kWithImm);
  EXPECT_EQ(wc.imm, 0x20000005U);
  EXPECT_EQ(wc.byte_len, 4096U);
  EXPECT_TRUE(Arrived(4096, 0));
}

TEST_P(OperationsTest, EmptyWriteWithImmediateNeedsNoRkey) {
  PostReceives(1, 8);
  SendWr wr = Wr(WrOpcode::kRdmaWriteWithImm, 0, 0);
  wr.rkey = 0;
  wr.imm = 0x01020304;
  Post(wr);
  Run();
  ASSERT_EQ(server_->completions.size(), 1U);
  EXPECT_EQ(server_->completions[0].imm, 0x01020304U);
  EXPECT_EQ(server_->completions[0].byte_len, 0U);
  EXPECT_TRUE(Arrived(0, 0)) << "the immediate must not land in the receive";
}

TEST_P(OperationsTest, SendWithImmediateIsOneCompletion) {
  PostReceives(1, 8);
  SendWr wr = Wr(WrOpcode::kSendWithImm, 0, 8);
  wr.imm = 0x12345678;
  Post(wr);
  Run();
  ASSERT_EQ(server_->completions.size(), 1U);
  const WorkCompletion& wc = server_->completions[0];
  EXPECT_EQ(wc.opcode, WcOpcode::kRecv);
  EXPECT_EQ(wc.flags, kWithImm);
  EXPECT_EQ(wc.imm, 0x12345678U);
  EXPECT_EQ(wc.byte_len, 8U);
  EXPECT_TRUE(Arrived(8, 0));
}

TEST_P(OperationsTest, SendWithInvalidateEndsRemoteAccess) {
  Bytes victim(64);
  auto victim_mr = server_->Register(&victim);
  PostReceives(1, 0);
  SendWr wr = Wr(WrOpcode::kSendWithInv, 0, 0);
  wr.invalidate_rkey = victim_mr->rkey();
  Post(wr);
  Run();
  ASSERT_EQ(server_->completions.size(), 1U);
  EXPECT_EQ(server_->completions[0].flags, kWithInv);
  EXPECT_EQ(server_->completions[0].invalidated_rkey, victim_mr->rkey());
  SendWr write = Wr(WrOpcode::kRdmaWrite, 0, 8);
  write.rkey = victim_mr->rkey();
  write.remote_address = victim_mr->remote_address();
  Post(write);
  Run();
  EXPECT_EQ(victim, Bytes(64));
  EXPECT_EQ(server_->Count(CmEvent::Type::kDisconnected), 1);
  EXPECT_EQ(client_->Count(CmEvent::Type::kDisconnected), 1);
}

TEST_P(OperationsTest, LargeWriteGoesInSeveralPieces) {
  Post(Wr(WrOpcode::kRdmaWrite, 0, 1 << 20));
  Run();
  EXPECT_EQ(source_, target_);
}

TEST_P(OperationsTest, LargeSendGoesInSeveralPieces) {
  PostReceives(1, 300000);
  Post(Wr(WrOpcode::kSend, 0, 200001));
  Run();
  ASSERT_EQ(server_->completions.size(), 1U);
  EXPECT_EQ(server_->completions[0].byte_len, 200001U);
  EXPECT_TRUE(Arrived(200001, 0));
}

TEST_P(OperationsTest, GatherListIsOneMessage) {
  PostReceives(1, 1000);
  const Sge sges[3] = {{&source_[0], 5, source_mr_->lkey()},
                       {&source_[500], 600, source_mr_->lkey()},
                       {&source_[9], 1, source_mr_->lkey()}};
  SendWr wr = Wr(WrOpcode::kSend, 0, 0);
  wr.sg_list = sges;
  Post(wr);
  Run();
  ASSERT_EQ(server_->completions.size(), 1U);
  EXPECT_EQ(server_->completions[0].byte_len, 606U);
  EXPECT_TRUE(std::equal(&target_[0], &target_[5], &source_[0]));
  EXPECT_TRUE(std::equal(&target_[5], &target_[605], &source_[500]));
  EXPECT_EQ(target_[605], source_[9]);
}

TEST_P(OperationsTest, InlineDataMayChangeAtOnce) {
  PostReceives(1, 100);
  Bytes data = Counting(32);
  const Sge sge = {data.data(), 32, 0};
  SendWr wr;
  wr.opcode = WrOpcode::kSend;
  wr.flags = kInline;
  wr.sg_list = {&sge, 1};
  ASSERT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kDeferred).ok());
  data.assign(32, 0xff);
  Run();
  EXPECT_TRUE(std::equal(&target_[0], &target_[32], Counting(32).begin()));
}

TEST_P(OperationsTest, DeferredSendsLeaveWithFlush) {
  PostReceives(2, 8);
  Post(Wr(WrOpcode::kSend, 0, 8));
  const SendWr wr = Wr(WrOpcode::kSend, 0, 8);
  ASSERT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kDeferred).ok());
  while (server_->Step()) {
  }
  EXPECT_EQ(server_->completions.size(), 1U);
  EXPECT_FALSE(client_->channel->Arm());
  client_->channel->Flush();
  Run();
  EXPECT_EQ(server_->completions.size(), 2U);
}

TEST_P(OperationsTest, OrderOfMessagesIsKept) {
  PostReceives(64, 8);
  for (uint32_t i = 0; i < 40; ++i) {
    SendWr wr =
        Wr(i % 2 == 0 ? WrOpcode::kRdmaWriteWithImm : WrOpcode::kSendWithImm, i,
           i % 3);
    wr.imm = i;
    wr.flags = 0;
    ASSERT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kDeferred).ok());
  }
  Run();
  ASSERT_EQ(server_->completions.size(), 40U);
  for (uint32_t i = 0; i < 40; ++i) {
    EXPECT_EQ(server_->completions[i].imm, i);
    EXPECT_EQ(server_->completions[i].wr_id, i);
  }
}

TEST_P(OperationsTest, ASlotIsFreeWhenASignalledCompletionIsPolled) {
  PostReceives(64, 8);
  SendWr wr = Wr(WrOpcode::kSend, 0, 8);
  for (int i = 0; i < 64; ++i) {
    wr.flags = i == 63 ? kSignaled : 0;
    Post(wr);
  }
  EXPECT_EQ(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).code(),
            absl::StatusCode::kResourceExhausted);
  Run();
  EXPECT_EQ(client_->completions.size(), 1U);
  Post(wr);
}

TEST_P(OperationsTest, PostIsRefusedWithForeignMemory) {
  SendWr wr = Wr(WrOpcode::kSend, 0, 8);
  sge_.lkey ^= 0x10;
  EXPECT_EQ(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).code(),
            absl::StatusCode::kInvalidArgument);
  sge_.lkey = target_mr_->lkey();  // of the server's domain
  EXPECT_EQ(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).code(),
            absl::StatusCode::kInvalidArgument);
  // Memory that may only be read takes no receive.
  const RecvWr recv = {0, source_.data(), 8, source_mr_->lkey()};
  EXPECT_EQ(client_qp_->PostRecv({&recv, 1}).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_P(OperationsTest, FullNetworkDelaysButLosesNothing) {
  for (int i = 0; i < 8; ++i) Post(Wr(WrOpcode::kRdmaWrite, 0, 1 << 20));
  EXPECT_LT(client_->completions.size(), 8U);
  Run();
  EXPECT_EQ(client_->completions.size(), 8U);
  EXPECT_EQ(source_, target_);
}

class WindowTest : public OperationsBase,
                   public ::testing::WithParamInterface<bool> {
 protected:
  WindowTest() : OperationsBase(GetParam()) {}

  void SetUp() override {
    Establish();
    target_.assign(8192, 0);
    source_ = Counting(64, 1);
    source_mr_ = client_->Register(&source_, 0);
    target_mr_ = server_->Register(&target_, kLocalWrite | kBindWindows);
    window_ = *server_->pd->AllocWindow();
  }
  // Binds the second half of the target; with length 0, nothing.
  uint32_t Bind(uint32_t length = 4096) {
    BindWr wr;
    wr.wr_id = 5;
    wr.flags = kSignaled;
    wr.window = window_.get();
    wr.region = target_mr_.get();
    wr.address = target_.data() + 4096;
    wr.length = length;
    auto rkey = server_qp_->BindWindow(wr);
    EXPECT_TRUE(rkey.ok()) << rkey.status();
    return rkey.value_or(0);
  }
  WcStatus WriteTo(uint32_t rkey, uint64_t offset) {
    const Sge sge = {source_.data(), 64, source_mr_->lkey()};
    SendWr wr;
    wr.opcode = WrOpcode::kRdmaWrite;
    wr.flags = kSignaled;
    wr.sg_list = {&sge, 1};
    wr.remote_address = target_mr_->remote_address() + offset;
    wr.rkey = rkey;
    EXPECT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).ok());
    // Behind it, so that a refusal is known before it completes.
    wr.sg_list = {};
    wr.opcode = WrOpcode::kRdmaWriteWithImm;
    const RecvWr recv;
    EXPECT_TRUE(server_qp_->PostRecv({&recv, 1}).ok());
    EXPECT_TRUE(client_qp_->PostSend({&wr, 1}, Doorbell::kNow).ok());
    Run();
    return client_qp_->state() == QueuePair::State::kEstablished
               ? WcStatus::kSuccess
               : WcStatus::kRemoteAccess;
  }

  Bytes source_, target_;
  std::unique_ptr<MemoryRegion> source_mr_, target_mr_;
  std::unique_ptr<MemoryWindow> window_;
};

INSTANTIATE_TEST_SUITE_P(Both, WindowTest, ::testing::Bool());

TEST_P(WindowTest, EachBindGivesAFreshRkeyForItsBytesOnly) {
  const uint32_t first = Bind();
  const uint32_t second = Bind();
  EXPECT_NE(first, second);
  EXPECT_EQ(WriteTo(second, 4096), WcStatus::kSuccess);
  EXPECT_EQ(target_[4096], 1);
  EXPECT_EQ(WriteTo(second, 4095), WcStatus::kRemoteAccess);
  EXPECT_EQ(target_[4095], 0);
}

TEST_P(WindowTest, TheOldRkeyIsDead) {
  const uint32_t first = Bind();
  Bind();
  EXPECT_EQ(WriteTo(first, 4096), WcStatus::kRemoteAccess);
  EXPECT_EQ(target_[4096], 0);
}

TEST_P(WindowTest, ABindOfNothingKillsTheRkey) {
  const uint32_t rkey = Bind();
  Bind(0);
  EXPECT_EQ(WriteTo(rkey, 4096), WcStatus::kRemoteAccess);
}

TEST_P(WindowTest, TheRkeyEndsWithItsWindow) {
  const uint32_t rkey = Bind();
  window_.reset();
  EXPECT_EQ(WriteTo(rkey, 4096), WcStatus::kRemoteAccess);
}

TEST_P(WindowTest, TheRegionItselfIsNotOpenToThePeer) {
  Bind();
  EXPECT_EQ(WriteTo(target_mr_->rkey(), 4096), WcStatus::kRemoteAccess);
}

TEST_P(WindowTest, ABindCompletesInItsPlaceAmongTheSends) {
  const RecvWr recvs[2] = {};
  ASSERT_TRUE(client_qp_->PostRecv(recvs).ok());
  SendWr wr;
  wr.wr_id = 4;
  wr.opcode = WrOpcode::kRdmaWriteWithImm;
  wr.flags = kSignaled;
  ASSERT_TRUE(server_qp_->PostSend({&wr, 1}, Doorbell::kDeferred).ok());
  Bind();
  wr.wr_id = 6;
  ASSERT_TRUE(server_qp_->PostSend({&wr, 1}, Doorbell::kDeferred).ok());
  server_->channel->Flush();
  Run();
  ASSERT_EQ(server_->completions.size(), 3U);
  for (uint64_t i = 0; i < 3; ++i) {
    EXPECT_EQ(server_->completions[i].wr_id, 4 + i);
    EXPECT_EQ(server_->completions[i].status, WcStatus::kSuccess);
  }
}

TEST_P(WindowTest, BindsOnlyMemoryThatAllowsIt) {
  const auto closed = server_->Register(&target_, kLocalWrite);
  Bytes foreign(4096);
  const auto other = client_->Register(&foreign, kLocalWrite | kBindWindows);
  BindWr wr;
  wr.window = window_.get();
  wr.region = closed.get();
  wr.address = target_.data();
  wr.length = 4096;
  EXPECT_FALSE(server_qp_->BindWindow(wr).ok());
  wr.region = other.get();
  wr.address = foreign.data();
  EXPECT_FALSE(server_qp_->BindWindow(wr).ok());
  wr.region = target_mr_.get();
  wr.address = target_.data() + target_.size() - 4095;
  EXPECT_FALSE(server_qp_->BindWindow(wr).ok());
}

}  // namespace
}  // namespace rtrs::fabric

#endif  // TESTS_FABRIC_OPERATIONS_SUITE_H_
