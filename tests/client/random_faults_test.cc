// The client engine against the server engine while paths are cut, delayed and
// changed at random: nothing is lost, nothing is overtaken, nothing hangs. Each
// run is one seed, printed with every failure, and repeats exactly. RNBD_SEEDS
// says how many there are.
#include <errno.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/path_spec.h"
#include "rtrs/base/random.h"
#include "rtrs/client/session.h"
#include "rtrs/fabric/softiwarp/fault_transport.h"
#include "rtrs/fabric/softiwarp/memory_transport.h"
#include "rtrs/fabric/softiwarp/softiwarp.h"
#include "rtrs/server/server.h"
#include "tests/support/environment.h"

namespace rtrs::client {
namespace {

constexpr uint32_t kBlock = 512;
constexpr uint32_t kBlocks = 24;
constexpr int kPaths = 3;

// A disk of some blocks that keeps requests for a while, so that paths are
// lost under running ones.
class SlowDisk : public server::Handler {
 public:
  explicit SlowDisk(Random* random) : random_(random) {}
  absl::Status OnSessionUp(server::Session*) override {
    return absl::OkStatus();
  }
  void OnSessionDown(server::Session*) override {}
  void OnRequest(server::Request* request) override {
    running_.push_back(request);
  }
  void Step() {
    while (!running_.empty() && random_->Below(3) != 0) {
      const size_t at = random_->Below(running_.size());
      server::Request* const request = running_[at];
      running_.erase(running_.begin() + static_cast<ptrdiff_t>(at));
      uint32_t block = 0;
      std::memcpy(&block, request->user_message.data(), sizeof(block));
      if (block >= kBlocks || request->data.size() != kBlock) {
        request->Complete(EINVAL);
      } else if (request->direction == server::Direction::kWrite) {
        std::memcpy(blocks[block], request->data.data(), kBlock);
        request->Complete(0);
      } else {
        std::memcpy(request->data.data(), blocks[block], kBlock);
        request->Complete(0);
      }
    }
  }
  bool idle() const { return running_.empty(); }
  uint8_t blocks[kBlocks][kBlock] = {};

 private:
  Random* const random_;
  std::vector<server::Request*> running_;
};

// One block's user: writes it, reads it back, and knows what must be there.
struct User {
  explicit User(uint32_t block) : message(8) {
    std::memcpy(message.data(), &block, sizeof(block));
    request.user_message = message;
    request.data = data;
    request.data_len = kBlock;
    request.affinity = block;
    request.context = this;
    request.done = [](Request* r) { static_cast<User*>(r->context)->Done(); };
  }
  void Begin(Session* session) {
    busy = true;
    request.direction = ++turn % 2 == 1 ? Direction::kWrite : Direction::kRead;
    if (request.direction == Direction::kWrite) {
      std::memset(data, static_cast<int>(++value), kBlock);
      std::memcpy(data, &value, sizeof(value));
      possible.push_back(value);
    } else {
      std::memset(data, 0xEE, kBlock);
    }
    session->Submit(&request);
  }
  void Done() {
    busy = false;
    if (request.error != 0) {
      ++errors;
      // ECONNABORTED: no path was left. A write may be there or not.
      if (!request.local_error ||
          (request.error != ECONNABORTED && request.error != ETIMEDOUT)) {
        violation = absl::StrCat("error ", request.error);
      }
      return;
    }
    ++successes;
    if (request.direction == Direction::kWrite) {
      possible = {value};
    } else {
      Check(data);
    }
  }
  // What is on the disk, or was read, is one of the possible values. A value
  // that was seen is the only possible one from then on.
  void Check(const uint8_t* bytes) {
    uint32_t seen = 0;
    std::memcpy(&seen, bytes, sizeof(seen));
    for (const uint32_t one : possible) {
      if (one != seen) continue;
      for (size_t i = sizeof(seen); i < kBlock; ++i) {
        if (bytes[i] != static_cast<uint8_t>(one)) {
          violation = absl::StrCat("mixed content at byte ", i);
        }
      }
      possible = {seen};
      return;
    }
    violation = absl::StrCat("found ", seen, " where ", possible.back(),
                             " was written last");
  }

  Request request;
  std::vector<uint8_t> message;
  uint8_t data[kBlock];
  uint32_t turn = 0;
  uint32_t value = 0;
  std::vector<uint32_t> possible = {0};
  bool busy = false;
  int successes = 0;
  int errors = 0;
  std::string violation;
};

class RandomFaultsTest : public testing::TestWithParam<uint64_t> {
 protected:
  RandomFaultsTest() : random_(GetParam() + 1) {
    spdlog::set_level(spdlog::level::err);
    server::ServerOptions server_options;
    server_options.sess_queue_depth = 8;
    server_options.max_chunk_size = 8192;
    server_options.workers = 2;
    server_options.capabilities.bits = wire::Capabilities::kFence;
    server_ = *server::Server::Create({fabric_.get()}, &clock_, &random_,
                                      server_options, &disk_);
    const SocketAddress address =
        *server_->Listen(*SocketAddress::Parse("127.0.0.1", 0));
    options_.sessname = "clt";
    options_.heartbeat_interval = absl::Milliseconds(500);
    options_.mp_policy = static_cast<MultipathPolicy>(GetParam() % 3);
    for (int i = 0; i < kPaths; ++i) {
      options_.paths.push_back(*ParsePathSpec(
          absl::StrCat(Source(i), "@ip:127.0.0.1"), address.port()));
    }
    channel_ = *fabric_->CreateEventChannel();
    session_ = Session::Create(fabric_.get(), channel_.get(), &clock_, &random_,
                               options_, nullptr);
    session_->Start();
    for (uint32_t block = 0; block < kBlocks; ++block) {
      users_.push_back(std::make_unique<User>(block));
    }
  }
  ~RandomFaultsTest() override { spdlog::set_level(spdlog::level::info); }

  static std::string Source(int path) {
    return absl::StrCat("ip:127.0.0.", path + 2);
  }
  void Step() {
    clock_.Advance(absl::Microseconds(random_.Below(2000)));
    disk_.Step();
    for (int i = 0; i < server_->worker_count(); ++i) {
      server_->worker(i)->Progress();
    }
    session_->Progress();
  }
  // One thing that goes wrong, or an administrator's doing.
  void Disturb() {
    const int path = static_cast<int>(random_.Below(kPaths));
    const SocketAddress host =
        *SocketAddress::Parse(absl::StrCat("127.0.0.", path + 2), 0);
    switch (random_.Below(12)) {
      case 0:
        faults_.CutAll();
        break;
      case 1:
      case 2:
        faults_.set_held(host, true);
        break;
      case 3:
      case 4:
      case 5:
        faults_.set_held(host, false);
        break;
      case 6:
      case 7:
        plan_.cut = static_cast<uint32_t>(random_.Below(20000));
        plan_.refuse = static_cast<uint32_t>(random_.Below(300000));
        faults_.set_plan(plan_);
        break;
      case 8:
        plan_.cut = plan_.refuse = 0;
        faults_.set_plan(plan_);
        break;
      case 9:
        Change(random_.Below(2) == 0 ? PathChange::kDisconnect
                                     : PathChange::kReconnect,
               path);
        break;
      case 10:
        Change(random_.Below(2) == 0 ? PathChange::kRemove : PathChange::kAdd,
               path);
        break;
      case 11:
        if (User& user = *users_[random_.Below(kBlocks)]; user.busy) {
          session_->Cancel(&user.request);
        }
        break;
    }
  }
  void Change(PathChange change, int path) {
    const absl::Status status =
        session_->ChangePath(change, options_.paths[static_cast<size_t>(path)]);
    EXPECT_TRUE(status.ok() || ErrnoIs(status, {EEXIST, ENOENT, EBUSY}))
        << status;
  }
  static bool ErrnoIs(const absl::Status& status, std::vector<int> errors) {
    for (const int error : errors) {
      if (ErrnoOf(status) == error) return true;
    }
    return false;
  }
  bool AnyBusy() const {
    for (const auto& user : users_) {
      if (user->busy) return true;
    }
    return false;
  }
  void Heal() {
    plan_.cut = plan_.refuse = 0;
    faults_.set_plan(plan_);
    for (int i = 0; i < kPaths; ++i) {
      faults_.set_held(
          *SocketAddress::Parse(absl::StrCat("127.0.0.", i + 2), 0), false);
      Change(PathChange::kAdd, i);
      Change(PathChange::kReconnect, i);
    }
  }

  ManualClock clock_;
  SeededRandom random_;
  fabric::MemoryTransport network_;
  fabric::FaultTransport faults_{&network_, &clock_, &random_};
  fabric::FaultPlan plan_{.split = 50000, .delay = 20000};
  std::unique_ptr<fabric::Fabric> fabric_ =
      fabric::NewSoftiwarp({}, &faults_, &clock_, &random_);
  SlowDisk disk_{&random_};
  std::unique_ptr<server::Server> server_;
  SessionOptions options_;
  std::vector<std::unique_ptr<User>> users_;  // outlive the session
  std::unique_ptr<fabric::EventChannel> channel_;
  std::unique_ptr<Session> session_;
};

TEST_P(RandomFaultsTest, NothingIsLostOrOvertaken) {
  for (int i = 0; i < 2000 && session_->state() != SessionState::kConnected;
       ++i) {
    Step();
  }
  ASSERT_EQ(session_->state(), SessionState::kConnected);
  faults_.set_plan(plan_);
  for (int round = 0; round < 6000; ++round) {
    Step();
    if (random_.Below(40) == 0) Disturb();
    for (const auto& user : users_) {
      ASSERT_EQ(user->violation, "") << "seed " << GetParam();
      if (!user->busy && random_.Below(4) == 0) user->Begin(session_.get());
    }
  }
  // Everything ends when the network is well again.
  Heal();
  for (int i = 0; i < 60000 &&
                  (AnyBusy() || session_->state() != SessionState::kConnected);
       ++i) {
    Step();
  }
  ASSERT_FALSE(AnyBusy()) << "seed " << GetParam();
  ASSERT_EQ(session_->state(), SessionState::kConnected);
  EXPECT_EQ(session_->in_flight(), 0u);
  int successes = 0;
  for (const auto& user : users_) {
    user->Begin(session_.get());
    successes += user->successes;
  }
  for (int i = 0; i < 60000 && (AnyBusy() || !disk_.idle()); ++i) Step();
  for (uint32_t block = 0; block < kBlocks; ++block) {
    User& user = *users_[block];
    EXPECT_FALSE(user.busy);
    user.Check(disk_.blocks[block]);
    EXPECT_EQ(user.violation, "") << "seed " << GetParam();
  }
  EXPECT_GT(successes, 20) << "seed " << GetParam();
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomFaultsTest,
                         testing::Range(uint64_t{0},
                                        FromEnvironment("RNBD_SEEDS", 200)));

}  // namespace
}  // namespace rtrs::client
