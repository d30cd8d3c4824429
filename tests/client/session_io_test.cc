// Requests of a connected session: layout in the chunk, responses, limits.
#include <errno.h>

#include "rtrs/wire/immediate.h"
#include "tests/client/session_fixture.h"

namespace rtrs::client {
namespace {

using SessionIoTest = SessionTest;

TEST_F(SessionIoTest, WriteGathersDataAndMessage) {
  FakeServer* server = AddServer();
  Connect();
  TestRequest write(Direction::kWrite, 4096);
  Submit(&write);
  EXPECT_EQ(write.done, 1);
  EXPECT_EQ(write.request.error, 0);
  EXPECT_FALSE(write.request.local_error);
  ASSERT_EQ(server->requests.size(), 1u);
  const FakeServer::Received& seen = server->requests[0];
  EXPECT_EQ(seen.header.type, wire::RtrsType::kWrite);
  EXPECT_EQ(seen.offset, 4096u + 32);
  EXPECT_EQ(seen.data, write.data);
  EXPECT_EQ(seen.user_message, write.message);
}

TEST_F(SessionIoTest, ReadOffersItsBufferPlainly) {
  FakeServer* server = AddServer();
  server->config.auto_respond = false;
  Connect();
  TestRequest read(Direction::kRead, 4096);
  Submit(&read);
  ASSERT_EQ(server->requests.size(), 1u);
  const FakeServer::Received seen = server->requests[0];
  EXPECT_EQ(seen.header.type, wire::RtrsType::kRead);
  EXPECT_FALSE(seen.header.need_inval);
  ASSERT_TRUE(seen.header.has_descriptor);
  EXPECT_EQ(seen.header.descriptor.length, 4096u);
  EXPECT_EQ(seen.offset, 4096u + 32);
  EXPECT_EQ(seen.user_message, read.message);
  const std::vector<uint8_t> answer(4096, 0xA5);
  server->Respond(seen, 0, answer);
  Settle();
  EXPECT_EQ(read.done, 1);
  EXPECT_EQ(read.request.error, 0);
  EXPECT_EQ(read.data, answer);
}

TEST_F(SessionIoTest, ReadWithoutDataHasNoDescriptor) {
  FakeServer* server = AddServer();
  Connect();
  TestRequest flush(Direction::kRead, 0);
  Submit(&flush);
  ASSERT_EQ(server->requests.size(), 1u);
  EXPECT_FALSE(server->requests[0].header.has_descriptor);
  EXPECT_EQ(server->requests[0].offset, 32u);
  EXPECT_EQ(flush.done, 1);
}

TEST_F(SessionIoTest, ServiceRequestsUseCidZeroAndOthersNever) {
  FakeServer* server = AddServer();
  options_.io_connections = 3;
  Connect();
  TestRequest service(Direction::kWrite, 36);
  service.request.service = true;
  Submit(&service);
  EXPECT_EQ(server->requests.at(0).cid, 0);
  for (uint32_t affinity = 0; affinity < 6; ++affinity) {
    TestRequest io(Direction::kWrite, 512);
    io.request.affinity = affinity;
    Submit(&io);
    EXPECT_EQ(server->requests.back().cid, 1 + affinity % 3);
  }
}

TEST_F(SessionIoTest, ServerErrorIsHandedOn) {
  FakeServer* server = AddServer();
  server->config.auto_respond = false;
  Connect();
  TestRequest write(Direction::kWrite, 512);
  Submit(&write);
  server->Respond(server->requests.at(0), ENOSPC);
  Settle();
  EXPECT_EQ(write.request.error, ENOSPC);
  EXPECT_FALSE(write.request.local_error);
  EXPECT_EQ(session_->state(), SessionState::kConnected);
}

TEST_F(SessionIoTest, RefreshedRkeysAreUsed) {
  FakeServer* server = AddServer();
  server->config.new_rkey = true;
  Connect();
  // The chunk's old key is dead after each response, so a stale one fails.
  for (int i = 0; i < 5; ++i) {
    const uint32_t before = server->rkey(0, 0);
    TestRequest write(Direction::kWrite, 512);
    Submit(&write);
    ASSERT_EQ(write.done, 1);
    ASSERT_EQ(write.request.error, 0);
    EXPECT_NE(server->rkey(0, 0), before);
  }
  EXPECT_EQ(session_->state(), SessionState::kConnected);
}

TEST_F(SessionIoTest, ChunksOfSeveralRegionsAreAddressed) {
  FakeServer* server = AddServer();
  server->config.info_regions = 4;
  server->config.auto_respond = false;
  Connect();
  std::vector<std::unique_ptr<TestRequest>> writes;
  for (uint32_t i = 0; i < 8; ++i) {
    writes.push_back(std::make_unique<TestRequest>(Direction::kWrite, 512));
    writes.back()->data.assign(512, static_cast<uint8_t>(i));
    Submit(writes.back().get());
  }
  ASSERT_EQ(server->requests.size(), 8u);
  for (uint32_t i = 0; i < 8; ++i) {
    EXPECT_EQ(server->requests[i].buf_id, i);
    EXPECT_EQ(server->requests[i].data[0], i);
    server->Respond(server->requests[i], 0);
  }
  Settle();
  for (const auto& write : writes) EXPECT_EQ(write->done, 1);
}

TEST_F(SessionIoTest, RequestsWaitForPermitsAndLowestIsReused) {
  FakeServer* server = AddServer();
  server->config.auto_respond = false;
  Connect();
  std::vector<std::unique_ptr<TestRequest>> writes;
  for (int i = 0; i < 10; ++i) {
    writes.push_back(std::make_unique<TestRequest>(Direction::kWrite, 512));
    Submit(writes.back().get());
  }
  EXPECT_EQ(session_->in_flight(), 8u);
  ASSERT_EQ(server->requests.size(), 8u);
  server->Respond(server->requests[5], 0);
  server->Respond(server->requests[2], 0);
  Settle();
  ASSERT_EQ(server->requests.size(), 10u);
  EXPECT_EQ(server->requests[8].buf_id, 2u);
  EXPECT_EQ(server->requests[9].buf_id, 5u);
  EXPECT_EQ(writes[5]->done, 1);
  EXPECT_EQ(writes[2]->done, 1);
  EXPECT_EQ(writes[8]->done, 0);
  session_.reset();
  EXPECT_EQ(writes[8]->done, 1);
  EXPECT_EQ(writes[8]->request.error, ESHUTDOWN);
}

TEST_F(SessionIoTest, RequestsBeforeTheConnectAreSentLater) {
  AddServer();
  Start();
  TestRequest write(Direction::kWrite, 512);
  session_->Submit(&write.request);
  Settle();
  EXPECT_EQ(write.done, 1);
  EXPECT_EQ(write.request.error, 0);
}

struct SizeCase {
  Direction direction;
  uint32_t data_len;
  size_t message_len;
  bool fits;
};

class SessionSizeTest : public SessionTest,
                        public testing::WithParamInterface<SizeCase> {};

TEST_P(SessionSizeTest, Limit) {
  FakeServer* server = AddServer();  // 12288 + 4096
  Connect();
  TestRequest request(GetParam().direction, GetParam().data_len,
                      GetParam().message_len);
  Submit(&request);
  EXPECT_EQ(request.done, 1);
  EXPECT_EQ(request.request.error, GetParam().fits ? 0 : EMSGSIZE);
  EXPECT_EQ(request.request.local_error, !GetParam().fits);
  EXPECT_EQ(server->requests.size(), GetParam().fits ? 1u : 0u);
  EXPECT_EQ(session_->in_flight(), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    All, SessionSizeTest,
    testing::Values(SizeCase{Direction::kWrite, 12288, 488, true},
                    SizeCase{Direction::kWrite, 12289, 32, false},
                    SizeCase{Direction::kRead, 12288, 488, true},
                    SizeCase{Direction::kRead, 12289, 32, false},
                    SizeCase{Direction::kWrite, 512, 489, false},
                    SizeCase{Direction::kRead, 0, 4096, false}));

TEST_F(SessionIoTest, SmallServerHeaderBoundsTheMessage) {
  FakeServer* server = AddServer("127.0.0.1", {.max_hdr_size = 64});
  Connect();
  TestRequest fits(Direction::kRead, 512, 40);  // 40 + 8 + 16
  Submit(&fits);
  EXPECT_EQ(fits.request.error, 0);
  TestRequest too_long(Direction::kRead, 512, 41);
  Submit(&too_long);
  EXPECT_EQ(too_long.request.error, EMSGSIZE);
  TestRequest write(Direction::kWrite, 512, 60);
  Submit(&write);
  EXPECT_EQ(write.request.error, 0);
  EXPECT_EQ(server->requests.size(), 2u);
}

TEST_F(SessionIoTest, BuffersAreDeregisteredBeforeDone) {
  FakeServer* server = AddServer();
  Connect();
  const size_t before = fabric_.region_count();
  TestRequest read(Direction::kRead, 4096);
  struct Seen {
    fabric::LoopbackFabric* fabric;
    size_t regions = 0;
  } seen{&fabric_};
  read.request.context = &seen;
  read.request.done = [](Request* r) {
    auto* s = static_cast<Seen*>(r->context);
    s->regions = s->fabric->region_count();
  };
  Submit(&read);
  EXPECT_EQ(seen.regions, before);
  EXPECT_EQ(server->requests.size(), 1u);
}

TEST_F(SessionIoTest, DoneMaySubmitAgain) {
  FakeServer* server = AddServer();
  Connect();
  TestRequest write(Direction::kWrite, 512);
  struct Chain {
    Session* session;
    int left = 2000;
  } chain{session_.get()};
  write.request.context = &chain;
  write.request.done = [](Request* r) {
    auto* c = static_cast<Chain*>(r->context);
    if (--c->left > 0) c->session->Submit(r);
  };
  Submit(&write);
  EXPECT_EQ(chain.left, 0);
  EXPECT_EQ(server->requests.size(), 2000u);
}

class BounceTest : public SessionTest {
 protected:
  BounceTest() : SessionTest(/*cheap_registration=*/false) {}
};

TEST_F(BounceTest, DataGoesThroughThePool) {
  FakeServer* server = AddServer();
  Connect();
  TestRequest write(Direction::kWrite, 4096);
  Submit(&write);
  EXPECT_EQ(server->requests.at(0).data, write.data);
  server->config.auto_respond = false;
  TestRequest read(Direction::kRead, 4096);
  Submit(&read);
  const std::vector<uint8_t> answer(4096, 0x5A);
  server->Respond(server->requests.at(1), 0, answer);
  Settle();
  EXPECT_EQ(read.data, answer);
}

TEST_F(BounceTest, RequestsWaitForABuffer) {
  // 64 MiB of buffers hold 21 of these; the queue depth is 32.
  options_.max_chunk_size = 8u << 20;
  FakeServer* server =
      AddServer("127.0.0.1", {.queue_depth = 32, .max_io_size = 3u << 20});
  server->config.auto_respond = false;
  Connect();
  std::vector<std::unique_ptr<TestRequest>> reads;
  for (int i = 0; i < 32; ++i) {
    reads.push_back(std::make_unique<TestRequest>(Direction::kRead, 512));
    session_->Submit(&reads.back()->request);
  }
  Settle();
  EXPECT_EQ(server->requests.size(), 21u);
  for (size_t i = 0; i < server->requests.size(); ++i) {
    const FakeServer::Received request = server->requests[i];
    server->Respond(request, 0);
    Settle();
  }
  EXPECT_EQ(server->requests.size(), 32u);
  for (const auto& read : reads) EXPECT_EQ(read->done, 1);
}

}  // namespace
}  // namespace rtrs::client
