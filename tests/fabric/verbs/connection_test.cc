// Connections over a real RDMA device.
#include <array>
#include <thread>

#include "rtrs/base/errno_status.h"
#include "rtrs/base/mutex.h"
#include "rtrs/fabric/verbs/queue_pair.h"
#include "tests/fabric/verbs/device_fixture.h"

namespace rtrs::fabric::verbs {

class QueuePairTestPeer {
 public:
  // As rdma_rxe does when work that it does again fails: the queue pair is in
  // error, and only what is flushed tells of it.
  static void Break(QueuePair* qp) {
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_ERR;
    ASSERT_EQ(ibv_modify_qp(static_cast<VerbsQueuePair*>(qp)->qp_, &attr,
                            IBV_QP_STATE),
              0);
  }
  static int AckTimeout(QueuePair* qp) {
    ibv_qp_attr attr{};
    ibv_qp_init_attr init{};
    EXPECT_EQ(ibv_query_qp(static_cast<VerbsQueuePair*>(qp)->qp_, &attr,
                           IBV_QP_TIMEOUT, &init),
              0);
    return attr.timeout;
  }
};

namespace {

using Type = CmEvent::Type;

TEST_F(DeviceTest, FindsTheDeviceOfAPath) {
  const absl::StatusOr<std::string> name =
      FindDevice(Path(), absl::Seconds(10));
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(*name, fabric_->device().name);
}

TEST_F(DeviceTest, FindsNoDeviceForLoopback) {
  const PathSpec path = *ParsePathSpec("ip:127.0.0.1", 1234);
  EXPECT_FALSE(FindDevice(path, absl::Seconds(10)).ok());
}

TEST_F(DeviceTest, AnUnknownDeviceIsNamedInTheError) {
  const absl::Status status = OpenDevice("nonesuch0").status();
  EXPECT_EQ(ErrnoOf(status), ENODEV);
  EXPECT_NE(status.message().find("nonesuch0"), std::string::npos);
}

TEST_F(DeviceTest, PrivateDataTravelsBothWays) {
  std::array<uint8_t, 56> request;
  request.fill(0x5a);
  std::array<uint8_t, 56> reply;
  reply.fill(0xa5);
  StartConnect(request);
  AwaitRequest();
  const auto got =
      server_->Find(Type::kConnectRequest)->request->private_data();
  ASSERT_GE(got.size(), request.size());
  EXPECT_TRUE(std::equal(request.begin(), request.end(), got.begin()));
  Accept(reply);
  ASSERT_TRUE(UntilClient(Type::kEstablished));
  const auto& back = client_->Find(Type::kEstablished)->private_data;
  ASSERT_GE(back.size(), reply.size());
  EXPECT_TRUE(std::equal(reply.begin(), reply.end(), back.begin()));
  EXPECT_EQ(client_->qp->state(), QueuePair::State::kEstablished);
  EXPECT_TRUE(client_->qp->peer_address().SameHost(address_));
}

TEST_F(DeviceTest, ARejectionCarriesPrivateData) {
  std::array<uint8_t, 56> reason;
  reason.fill(0x77);
  StartConnect();
  AwaitRequest();
  server_->Find(Type::kConnectRequest)->request->Reject(reason);
  ASSERT_TRUE(UntilClient(Type::kRejected));
  const auto& data = client_->Find(Type::kRejected)->private_data;
  ASSERT_GE(data.size(), reason.size());
  EXPECT_TRUE(std::equal(reason.begin(), reason.end(), data.begin()));
  EXPECT_EQ(client_->qp->state(), QueuePair::State::kError);
}

TEST_F(DeviceTest, ADroppedRequestIsARejection) {
  StartConnect();
  AwaitRequest();
  server_->events.clear();
  EXPECT_TRUE(UntilClient(Type::kRejected));
}

TEST_F(DeviceTest, NothingListening) {
  client_->qp = *client_->channel->CreateQp(client_->Init());
  const PathSpec path = *ParsePathSpec("ip:" + address_.HostString(), 9);
  ASSERT_TRUE(client_->qp->Connect(path, {}, absl::Seconds(20)).ok());
  ASSERT_TRUE(UntilClient(Type::kConnectError));
  EXPECT_EQ(ErrnoOf(client_->Find(Type::kConnectError)->status), ECONNREFUSED);
}

TEST_F(DeviceTest, AConnectThatNobodyAnswersTimesOut) {
  client_->qp = *client_->channel->CreateQp(client_->Init());
  ASSERT_TRUE(client_->qp->Connect(Path(), {}, absl::Seconds(1)).ok());
  ASSERT_TRUE(UntilServer(Type::kConnectRequest));
  ASSERT_TRUE(UntilClient(Type::kConnectError));
  EXPECT_EQ(ErrnoOf(client_->Find(Type::kConnectError)->status), ETIMEDOUT);
}

TEST_F(DeviceTest, AcceptingARequestThatWasGivenUpEndsInDisconnected) {
  StartConnect();
  AwaitRequest();
  client_->qp.reset();
  Accept();
  EXPECT_TRUE(UntilServer(Type::kDisconnected));
}

TEST_F(DeviceTest, DisconnectIsSeenOnBothSidesAndFlushesReceives) {
  StartConnect();
  AwaitRequest();
  ASSERT_TRUE(server_->Recv(1).ok());
  Accept();
  ASSERT_TRUE(client_->Recv(2).ok());
  ASSERT_TRUE(UntilClient(Type::kEstablished));
  client_->qp->Disconnect();
  ASSERT_TRUE(UntilServer(Type::kDisconnected));
  server_->qp->Disconnect();
  ASSERT_TRUE(UntilClient(Type::kDisconnected));
  ASSERT_TRUE(Until([&] {
    return server_->Completed(1) != nullptr && client_->Completed(2) != nullptr;
  }));
  EXPECT_EQ(server_->Completed(1)->status, WcStatus::kFlushed);
  EXPECT_EQ(client_->Completed(2)->status, WcStatus::kFlushed);
  EXPECT_EQ(client_->qp->state(), QueuePair::State::kClosed);
}

TEST_F(DeviceTest, DestroyingAQueuePairDisconnectsThePeer) {
  Connect();
  client_->qp.reset();
  EXPECT_TRUE(UntilServer(Type::kDisconnected));
}

TEST_F(DeviceTest, PostsInErrorAreFlushed) {
  Connect();
  client_->qp.reset();
  ASSERT_TRUE(UntilServer(Type::kDisconnected));
  SendWr wr;
  wr.wr_id = 5;
  EXPECT_TRUE(server_->Send(wr).ok());
  EXPECT_TRUE(server_->Recv(6).ok());
  server_->Step();
  ASSERT_NE(server_->Completed(5), nullptr);
  EXPECT_EQ(server_->Completed(5)->status, WcStatus::kFlushed);
  ASSERT_NE(server_->Completed(6), nullptr);
  EXPECT_EQ(server_->Completed(6)->status, WcStatus::kFlushed);
}

TEST_F(DeviceTest, AFlushWithoutAReasonEndsBothSides) {
  Connect();
  QueuePairTestPeer::Break(server_->qp.get());
  SendWr wr;
  wr.wr_id = 5;
  EXPECT_TRUE(server_->Send(wr).ok());
  EXPECT_TRUE(UntilServer(Type::kDisconnected));
  EXPECT_TRUE(UntilClient(Type::kDisconnected));
}

// rdma_rxe, which this runs on, breaks connections with fresh keys by sending
// again what is not late.
TEST_F(DeviceTest, BothEndsArePatientWhereTheClientExpectsFreshKeys) {
  client_->rekeyed = true;
  Connect();
  EXPECT_EQ(QueuePairTestPeer::AckTimeout(client_->qp.get()), 22);
  EXPECT_EQ(QueuePairTestPeer::AckTimeout(server_->qp.get()), 22);
}

TEST_F(DeviceTest, AServerThatMakesFreshKeysIsPatient) {
  server_->rekeyed = true;
  Connect();
  EXPECT_EQ(QueuePairTestPeer::AckTimeout(server_->qp.get()), 22);
}

TEST_F(DeviceTest, WithoutFreshKeysTheTimeoutIsThatOfRdmaCm) {
  Connect();
  EXPECT_LT(QueuePairTestPeer::AckTimeout(client_->qp.get()), 22);
  EXPECT_LT(QueuePairTestPeer::AckTimeout(server_->qp.get()), 22);
}

TEST_F(DeviceTest, AWildcardListenerIsReached) {
  listener_ = *server_->channel->Listen(*SocketAddress::Parse("::", 0), 8);
  Connect();
}

TEST_F(DeviceTest, AnAddressInUseIsRefused) {
  EXPECT_FALSE(server_->channel->Listen(listener_->local_address(), 8).ok());
}

// The request arrives on one thread's channel, its connection lives on
// another's, as with the server's workers.
TEST_F(DeviceTest, ARequestMigratesToAnotherThread) {
  StartConnect();
  ASSERT_TRUE(UntilServer(Type::kConnectRequest));
  std::unique_ptr<ConnectRequest> request =
      std::move(server_->Find(Type::kConnectRequest)->request);
  rtrs::Notification established;
  rtrs::Notification disconnected;
  std::thread worker([&] {
    Side side(fabric_.get());
    side.qp = *side.channel->CreateQp(side.Init());
    EXPECT_TRUE(side.Recv(1).ok());
    EXPECT_TRUE(side.qp->Accept(std::move(request), {}).ok());
    const absl::Time limit = Clock::System()->Now() + absl::Seconds(60);
    while (side.Find(Type::kDisconnected) == nullptr &&
           Clock::System()->Now() < limit) {
      side.Step();
      if (side.Find(Type::kEstablished) != nullptr &&
          !established.HasBeenNotified()) {
        established.Notify();
      }
      if (side.channel->Arm()) {
        pollfd fd = {side.channel->fd(), POLLIN, 0};
        poll(&fd, 1, 1000);
      }
    }
    if (side.Find(Type::kDisconnected) != nullptr) disconnected.Notify();
  });
  EXPECT_TRUE(UntilClient(Type::kEstablished));
  SendWr wr;
  wr.opcode = WrOpcode::kRdmaWriteWithImm;
  EXPECT_TRUE(client_->Send(wr).ok());
  EXPECT_TRUE(established.WaitForNotificationWithTimeout(absl::Seconds(30)));
  client_->qp->Disconnect();
  EXPECT_TRUE(UntilClient(Type::kDisconnected));
  EXPECT_TRUE(disconnected.WaitForNotificationWithTimeout(absl::Seconds(30)));
  worker.join();
}

TEST_F(DeviceTest, AHundredConnectionsInARow) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_NO_FATAL_FAILURE(Connect()) << i;
    client_->qp->Disconnect();
    ASSERT_TRUE(UntilServer(Type::kDisconnected)) << i;
    server_->qp->Disconnect();
    ASSERT_TRUE(UntilClient(Type::kDisconnected)) << i;
    for (Side* side : {server_.get(), client_.get()}) {
      side->events.clear();
      side->qp.reset();
    }
  }
}

TEST_F(DeviceTest, MoreQueuePairsThanOneCompletionQueueHolds) {
  QueuePairInit init = client_->Init();
  init.max_send_wr = fabric_->device().max_cqe / 4;
  init.max_recv_wr = fabric_->device().max_cqe / 4;
  std::vector<std::unique_ptr<QueuePair>> many;
  for (int i = 0; i < 6; ++i) {
    auto qp = client_->channel->CreateQp(init);
    ASSERT_TRUE(qp.ok()) << qp.status();
    many.push_back(*std::move(qp));
  }
  Connect();
}

TEST_F(DeviceTest, MoreWorkRequestsThanTheDeviceHasAreRefusedWithItsName) {
  QueuePairInit init = client_->Init();
  init.max_send_wr = fabric_->device().max_qp_wr + 1;
  const absl::Status status = client_->channel->CreateQp(init).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find(fabric_->device().name), std::string::npos);
}

}  // namespace
}  // namespace rtrs::fabric::verbs
