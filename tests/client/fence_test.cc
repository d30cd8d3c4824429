// The client engine against the server engine over softiwarp, with a network
// that holds the bytes of one path back: what the fence is for.
#include <errno.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <vector>

#include "rtrs/base/clock.h"
#include "rtrs/base/path_spec.h"
#include "rtrs/base/random.h"
#include "rtrs/client/session.h"
#include "rtrs/fabric/softiwarp/fault_transport.h"
#include "rtrs/fabric/softiwarp/memory_transport.h"
#include "rtrs/fabric/softiwarp/softiwarp.h"
#include "rtrs/server/server.h"

namespace rtrs::client {
namespace {

constexpr uint32_t kBlock = 512;

// A disk of one block.
class BlockHandler : public server::Handler {
 public:
  absl::Status OnSessionUp(server::Session*) override {
    return absl::OkStatus();
  }
  void OnSessionDown(server::Session*) override {}
  void OnRequest(server::Request* request) override {
    ++requests;
    std::memcpy(block.data(), request->data.data(), kBlock);
    request->Complete(0);
  }
  int requests = 0;
  std::vector<uint8_t> block = std::vector<uint8_t>(kBlock);
};

struct Write {
  explicit Write(uint8_t byte) : data(kBlock, byte) {
    request.direction = Direction::kWrite;
    request.user_message = message;
    request.data = data.data();
    request.data_len = kBlock;
    request.context = this;
    request.done = [](Request* r) {
      static_cast<Write*>(r->context)->done = true;
    };
  }
  std::vector<uint8_t> data;
  std::vector<uint8_t> message = std::vector<uint8_t>(8, 1);
  Request request;
  bool done = false;
};

class FenceTest : public testing::Test {
 protected:
  void Connect(uint32_t server_capabilities) {
    server::ServerOptions server_options;
    server_options.sess_queue_depth = 8;
    server_options.max_chunk_size = 8192;
    server_options.capabilities.bits = server_capabilities;
    server_ = *server::Server::Create({fabric_.get()}, &clock_, &random_,
                                      server_options, &handler_);
    const SocketAddress address =
        *server_->Listen(*SocketAddress::Parse("127.0.0.1", 0));
    SessionOptions options;
    options.sessname = "clt";
    // Gives a silent path up long before the server does.
    options.heartbeat_interval = absl::Seconds(1);
    for (const char* path :
         {"ip:127.0.0.2@ip:127.0.0.1", "ip:127.0.0.3@ip:127.0.0.1"}) {
      options.paths.push_back(*ParsePathSpec(path, address.port()));
    }
    held_path_ = options.paths[0];
    channel_ = *fabric_->CreateEventChannel();
    session_ = Session::Create(fabric_.get(), channel_.get(), &clock_, &random_,
                               options, nullptr);
    session_->Start();
    RunUntil([this] { return ConnectedPaths() == 2; });
  }
  size_t ConnectedPaths() const {
    size_t count = 0;
    for (const PathInfo& path : session_->paths()) count += path.connected;
    return count;
  }
  void Step(absl::Duration by = absl::Microseconds(10)) {
    clock_.Advance(by);
    server_->worker(0)->Progress();
    session_->Progress();
  }
  template <typename Condition>
  void RunUntil(Condition condition,
                absl::Duration step = absl::Microseconds(10)) {
    for (int i = 0; i < 100000 && !condition(); ++i) Step(step);
    ASSERT_TRUE(condition());
  }
  void Hold(bool held) {
    faults_.set_held(*SocketAddress::Parse("127.0.0.2", 0), held);
  }
  // The old write is sent on a path whose bytes stay on their way, and again
  // on the other one; a newer write follows; then the old bytes arrive.
  void OvertakeOldWrite() {
    Hold(true);
    Write old(0x0D);
    session_->Submit(&old.request);  // to the first path
    for (int i = 0; i < 100; ++i) Step();
    ASSERT_FALSE(old.done);
    RunUntil([&] { return old.done; }, absl::Milliseconds(10));
    EXPECT_EQ(old.request.error, 0);
    EXPECT_EQ(handler_.requests, 1);  // the copy on the other path
    // It must not come back before the old bytes have had their chance.
    ASSERT_TRUE(session_->ChangePath(PathChange::kDisconnect, held_path_).ok());
    Write newer(0x9E);
    session_->Submit(&newer.request);
    RunUntil([&] { return newer.done; });
    EXPECT_EQ(newer.request.error, 0);
    Hold(false);
    for (int i = 0; i < 1000; ++i) Step();
  }

  ManualClock clock_;
  SeededRandom random_{1};
  fabric::MemoryTransport network_;
  fabric::FaultTransport faults_{&network_, &clock_, &random_};
  std::unique_ptr<fabric::Fabric> fabric_ =
      fabric::NewSoftiwarp({}, &faults_, &clock_, &random_);
  BlockHandler handler_;
  std::unique_ptr<server::Server> server_;
  PathSpec held_path_;
  std::unique_ptr<fabric::EventChannel> channel_;
  std::unique_ptr<Session> session_;
};

TEST_F(FenceTest, OldBytesOfAFencedPathNeverLand) {
  Connect(wire::Capabilities::kFence);
  OvertakeOldWrite();
  EXPECT_EQ(handler_.requests, 2);
  EXPECT_EQ(handler_.block, std::vector<uint8_t>(kBlock, 0x9E));
}

// What a server without it leaves open; the README says so.
TEST_F(FenceTest, OldBytesLandWhereThereIsNoFence) {
  Connect(0);
  OvertakeOldWrite();
  EXPECT_EQ(handler_.requests, 3);
  EXPECT_EQ(handler_.block, std::vector<uint8_t>(kBlock, 0x0D));
}

}  // namespace
}  // namespace rtrs::client
