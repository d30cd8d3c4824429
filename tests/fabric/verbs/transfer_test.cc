// Messages and remote writes over a real RDMA device.
#include <array>
#include <cstring>

#include "tests/fabric/verbs/device_fixture.h"

namespace rtrs::fabric::verbs {
namespace {

using Type = CmEvent::Type;

class TransferTest : public DeviceTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(DeviceTest::SetUp());
    local_.fill(0x11);
    remote_.fill(0);
    source_ = *client_->pd->RegisterMemory(local_.data(), local_.size(), 0);
    target_ = *server_->pd->RegisterMemory(remote_.data(), remote_.size(),
                                           kLocalWrite | kRemoteWrite);
    ASSERT_NO_FATAL_FAILURE(Connect());
  }
  void TearDown() override {
    server_->qp.reset();
    client_->qp.reset();
    source_.reset();
    target_.reset();
    DeviceTest::TearDown();
  }
  Sge Piece(uint32_t offset, uint32_t length) const {
    return {local_.data() + offset, length, source_->lkey()};
  }
  SendWr Write(absl::Span<const Sge> pieces, uint64_t wr_id) const {
    SendWr wr;
    wr.wr_id = wr_id;
    wr.opcode = WrOpcode::kRdmaWrite;
    wr.flags = kSignaled;
    wr.sg_list = pieces;
    wr.remote_address = target_->remote_address();
    wr.rkey = target_->rkey();
    return wr;
  }
  bool UntilDone(Side* side, uint64_t wr_id) {
    return Until([=] { return side->Completed(wr_id) != nullptr; });
  }

  std::array<uint8_t, 16384> local_;
  std::array<uint8_t, 16384> remote_;
  std::unique_ptr<MemoryRegion> source_;
  std::unique_ptr<MemoryRegion> target_;
};

TEST_F(TransferTest, SendWithImmediate) {
  ASSERT_TRUE(server_->Recv(1, remote_.data(), 100, target_->lkey()).ok());
  const std::array<Sge, 2> pieces = {Piece(0, 40), Piece(40, 60)};
  SendWr wr;
  wr.wr_id = 2;
  wr.opcode = WrOpcode::kSendWithImm;
  wr.flags = kSignaled;
  wr.imm = 0x10000005;
  wr.sg_list = pieces;
  ASSERT_TRUE(client_->Send(wr).ok());
  ASSERT_TRUE(UntilDone(server_.get(), 1));
  const WorkCompletion& wc = *server_->Completed(1);
  EXPECT_EQ(wc.status, WcStatus::kSuccess);
  EXPECT_EQ(wc.opcode, WcOpcode::kRecv);
  EXPECT_EQ(wc.flags, kWithImm);
  EXPECT_EQ(wc.imm, 0x10000005u);
  EXPECT_EQ(wc.byte_len, 100u);
  EXPECT_EQ(wc.qp, server_->qp.get());
  EXPECT_EQ(remote_[99], 0x11);
  EXPECT_EQ(remote_[100], 0);
  EXPECT_TRUE(UntilDone(client_.get(), 2));
}

TEST_F(TransferTest, WriteOfNothingWithImmediate) {
  ASSERT_TRUE(server_->Recv(1).ok());
  SendWr wr;
  wr.opcode = WrOpcode::kRdmaWriteWithImm;
  wr.imm = 0x80000000;
  ASSERT_TRUE(client_->Send(wr).ok());
  ASSERT_TRUE(UntilDone(server_.get(), 1));
  EXPECT_EQ(server_->Completed(1)->opcode, WcOpcode::kRecvRdmaWithImm);
  EXPECT_EQ(server_->Completed(1)->imm, 0x80000000u);
}

TEST_F(TransferTest, ALargeWriteArrivesBeforeItsImmediate) {
  ASSERT_TRUE(server_->Recv(1).ok());
  const std::array<Sge, 1> pieces = {Piece(0, 16384)};
  SendWr wr = Write(pieces, 2);
  wr.opcode = WrOpcode::kRdmaWriteWithImm;
  ASSERT_TRUE(client_->Send(wr).ok());
  ASSERT_TRUE(UntilDone(server_.get(), 1));
  EXPECT_EQ(remote_, local_);
}

TEST_F(TransferTest, TheAcceptingSideWritesToo) {
  const std::unique_ptr<MemoryRegion> target = *client_->pd->RegisterMemory(
      local_.data(), local_.size(), kLocalWrite | kRemoteWrite);
  remote_.fill(0x33);
  const std::array<Sge, 1> pieces = {
      Sge{remote_.data(), 5000, target_->lkey()}};
  SendWr wr;
  wr.wr_id = 1;
  wr.opcode = WrOpcode::kRdmaWrite;
  wr.flags = kSignaled;
  wr.sg_list = pieces;
  wr.remote_address = target->remote_address();
  wr.rkey = target->rkey();
  ASSERT_TRUE(server_->Send(wr).ok());
  ASSERT_TRUE(UntilDone(server_.get(), 1));
  EXPECT_EQ(server_->Completed(1)->status, WcStatus::kSuccess);
  EXPECT_EQ(local_[4999], 0x33);
}

TEST_F(TransferTest, DeferredSendsWaitForFlushAndKeepInlineData) {
  std::array<uint8_t, 8> data = {1, 2, 3, 4, 5, 6, 7, 8};
  const std::array<Sge, 1> piece = {Sge{data.data(), 8, 0}};
  SendWr wr = Write(piece, 1);
  wr.flags |= kInline;
  ASSERT_TRUE(client_->Send(wr, Doorbell::kDeferred).ok());
  data.fill(9);
  wr.wr_id = 2;
  wr.remote_address += 8;
  ASSERT_TRUE(client_->Send(wr, Doorbell::kDeferred).ok());
  EXPECT_FALSE(client_->channel->Arm());
  client_->Step();
  EXPECT_TRUE(client_->completions.empty());
  client_->channel->Flush();
  ASSERT_TRUE(UntilDone(client_.get(), 2));
  EXPECT_EQ(remote_[0], 1);
  EXPECT_EQ(remote_[7], 8);
  EXPECT_EQ(remote_[8], 9);
}

TEST_F(TransferTest, AFullSendQueueRefusesUntilASignalledCompletion) {
  const std::array<Sge, 1> pieces = {Piece(0, 8)};
  for (uint64_t i = 0; i < 16; ++i) {
    SendWr wr = Write(pieces, i);
    if (i != 15) wr.flags = 0;
    ASSERT_TRUE(client_->Send(wr, Doorbell::kDeferred).ok());
  }
  EXPECT_EQ(client_->Send(Write(pieces, 16)).code(),
            absl::StatusCode::kResourceExhausted);
  client_->channel->Flush();
  ASSERT_TRUE(UntilDone(client_.get(), 15));
  EXPECT_EQ(client_->completions.size(), 1u);
  EXPECT_TRUE(client_->Send(Write(pieces, 16)).ok());
  EXPECT_TRUE(UntilDone(client_.get(), 16));
}

TEST_F(TransferTest, LongListsGoThrough) {
  const std::array<Sge, 1> pieces = {Piece(0, 64)};
  for (int round = 0; round < 200; ++round) {
    std::vector<SendWr> list;
    for (uint64_t i = 0; i < 16; ++i) {
      list.push_back(Write(pieces, static_cast<uint64_t>(round)));
      if (i != 15) list.back().flags = 0;
    }
    ASSERT_TRUE(client_->qp->PostSend(list, Doorbell::kNow).ok());
    ASSERT_TRUE(UntilDone(client_.get(), static_cast<uint64_t>(round)));
  }
}

TEST_F(TransferTest, AWrongKeyIsARemoteAccessErrorAndEndsBothSides) {
  const std::array<Sge, 1> pieces = {Piece(0, 8)};
  SendWr wr = Write(pieces, 1);
  wr.rkey += 1;
  ASSERT_TRUE(client_->Send(wr).ok());
  ASSERT_TRUE(UntilDone(client_.get(), 1));
  EXPECT_EQ(client_->Completed(1)->status, WcStatus::kRemoteAccess);
  EXPECT_TRUE(UntilClient(Type::kDisconnected));
  EXPECT_TRUE(UntilServer(Type::kDisconnected));
  EXPECT_EQ(remote_[0], 0);
}

TEST_F(TransferTest, AWriteBeyondTheRegionIsRefused) {
  const std::array<Sge, 1> pieces = {Piece(0, 8)};
  SendWr wr = Write(pieces, 1);
  wr.remote_address += remote_.size() - 7;
  ASSERT_TRUE(client_->Send(wr).ok());
  ASSERT_TRUE(UntilDone(client_.get(), 1));
  EXPECT_EQ(client_->Completed(1)->status, WcStatus::kRemoteAccess);
}

TEST_F(TransferTest, ADeregisteredKeyIsDead) {
  const std::array<Sge, 1> pieces = {Piece(0, 8)};
  const SendWr wr = Write(pieces, 1);
  target_.reset();
  ASSERT_TRUE(client_->Send(wr).ok());
  ASSERT_TRUE(UntilDone(client_.get(), 1));
  EXPECT_EQ(client_->Completed(1)->status, WcStatus::kRemoteAccess);
}

TEST_F(TransferTest, AKeyOfAnotherDomainIsRefused) {
  const std::unique_ptr<ProtectionDomain> other = *fabric_->AllocPd();
  const std::unique_ptr<MemoryRegion> region = *other->RegisterMemory(
      remote_.data(), remote_.size(), kLocalWrite | kRemoteWrite);
  const std::array<Sge, 1> pieces = {Piece(0, 8)};
  SendWr wr = Write(pieces, 1);
  wr.rkey = region->rkey();
  ASSERT_TRUE(client_->Send(wr).ok());
  ASSERT_TRUE(UntilDone(client_.get(), 1));
  EXPECT_EQ(client_->Completed(1)->status, WcStatus::kRemoteAccess);
}

TEST_F(TransferTest, AMessageLongerThanItsReceiveIsAnError) {
  ASSERT_TRUE(server_->Recv(1, remote_.data(), 4, target_->lkey()).ok());
  const std::array<Sge, 1> pieces = {Piece(0, 8)};
  SendWr wr;
  wr.wr_id = 2;
  wr.sg_list = pieces;
  ASSERT_TRUE(client_->Send(wr).ok());
  ASSERT_TRUE(UntilDone(client_.get(), 2));
  EXPECT_NE(client_->Completed(2)->status, WcStatus::kSuccess);
}

TEST_F(TransferTest, DisconnectDeliversWhatWasPostedBefore) {
  const std::array<Sge, 1> pieces = {Piece(0, 16384)};
  SendWr wr = Write(pieces, 1);
  wr.flags = 0;
  ASSERT_TRUE(client_->Send(wr, Doorbell::kDeferred).ok());
  client_->qp->Disconnect();
  ASSERT_TRUE(UntilServer(Type::kDisconnected));
  EXPECT_EQ(remote_, local_);
  ASSERT_TRUE(UntilClient(Type::kDisconnected));
  EXPECT_TRUE(client_->completions.empty());
}

TEST_F(TransferTest, DestructionWithWorkInFlightLeavesNothingBehind) {
  const std::array<Sge, 1> pieces = {Piece(0, 16384)};
  for (uint64_t i = 0; i < 16; ++i) {
    ASSERT_TRUE(client_->Send(Write(pieces, i)).ok());
  }
  client_->qp.reset();
  client_->completions.clear();
  ASSERT_TRUE(UntilServer(Type::kDisconnected));
  EXPECT_TRUE(client_->completions.empty());
}

TEST_F(TransferTest, ALateReceiveCostsLittle) {
  SendWr wr;
  wr.wr_id = 1;
  wr.opcode = WrOpcode::kRdmaWriteWithImm;
  wr.flags = kSignaled;
  ASSERT_TRUE(client_->Send(wr).ok());
  client_->Step();
  ASSERT_TRUE(server_->Recv(2).ok());
  EXPECT_TRUE(UntilDone(server_.get(), 2));
  EXPECT_TRUE(UntilDone(client_.get(), 1));
}

class WindowTest : public TransferTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(TransferTest::SetUp());
    ASSERT_TRUE(fabric_->device().memory_windows);
    // Closed to the peer but for its windows.
    target_ = *server_->pd->RegisterMemory(remote_.data(), remote_.size(),
                                           kLocalWrite | kBindWindows);
    window_ = *server_->pd->AllocWindow();
  }
  void TearDown() override {
    window_.reset();
    TransferTest::TearDown();
  }
  uint32_t Bind(uint32_t length = 4096) {
    BindWr wr;
    wr.wr_id = ++binds_;
    wr.flags = kSignaled;
    wr.window = window_.get();
    wr.region = target_.get();
    wr.address = remote_.data();
    wr.length = length;
    auto rkey = server_->qp->BindWindow(wr);
    EXPECT_TRUE(rkey.ok()) << rkey.status();
    EXPECT_TRUE(UntilDone(server_.get(), binds_));
    EXPECT_EQ(server_->Completed(binds_)->status, WcStatus::kSuccess);
    return rkey.value_or(0);
  }
  WcStatus WriteTo(uint32_t rkey) {
    const std::array<Sge, 1> pieces = {Piece(0, 8)};
    SendWr wr = Write(pieces, ++writes_);
    wr.rkey = rkey;
    EXPECT_TRUE(client_->Send(wr).ok());
    EXPECT_TRUE(UntilDone(client_.get(), writes_));
    return client_->Completed(writes_)->status;
  }

  std::unique_ptr<MemoryWindow> window_;
  uint64_t binds_ = 1000;
  uint64_t writes_ = 0;
};

TEST_F(WindowTest, EachBindGivesAFreshRkey) {
  uint32_t last = 0;
  for (int i = 0; i < 300; ++i) {
    const uint32_t rkey = Bind();
    ASSERT_NE(rkey, last);
    ASSERT_EQ(WriteTo(rkey), WcStatus::kSuccess);
    last = rkey;
  }
  EXPECT_EQ(remote_[0], 0x11);
}

TEST_F(WindowTest, TheOldRkeyIsDead) {
  const uint32_t first = Bind();
  EXPECT_EQ(WriteTo(first), WcStatus::kSuccess);
  Bind();
  EXPECT_EQ(WriteTo(first), WcStatus::kRemoteAccess);
}

TEST_F(WindowTest, ABindOfNothingKillsTheRkey) {
  const uint32_t rkey = Bind();
  EXPECT_EQ(WriteTo(rkey), WcStatus::kSuccess);
  Bind(0);
  EXPECT_EQ(WriteTo(rkey), WcStatus::kRemoteAccess);
}

TEST_F(WindowTest, ItComesBackAfterABindOfNothing) {
  Bind();
  Bind(0);
  EXPECT_EQ(WriteTo(Bind()), WcStatus::kSuccess);
}

TEST_F(WindowTest, TheRegionItselfIsNotOpenToThePeer) {
  Bind();
  EXPECT_EQ(WriteTo(target_->rkey()), WcStatus::kRemoteAccess);
}

}  // namespace
}  // namespace rtrs::fabric::verbs
