// A session with a server of two devices, disk0 and disk1.
#ifndef TESTS_GATEWAY_RNBD_SESSION_FIXTURE_H_
#define TESTS_GATEWAY_RNBD_SESSION_FIXTURE_H_

#include <errno.h>

#include <memory>
#include <string>
#include <thread>

#include "gateway/rnbd_session.h"
#include "gtest/gtest.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "tests/gateway/fake_session.h"
#include "tests/gateway/message.h"

namespace rnbd::gateway {

class RnbdSessionTest : public ::testing::Test {
 protected:
  RnbdSessionTest() {
    server_.AddDevice("disk0", 1 << 20);
    server_.AddDevice("disk1", 1 << 20);
    options_.sessname = "demo";
  }

  SessionFactory Factory() {
    return
        [this]()
            -> absl::StatusOr<std::unique_ptr<rtrs::client::BlockingSession>> {
          ++connects_;
          if (refusals_ > 0) {
            --refusals_;
            return rtrs::ErrnoError(EPERM, "closed after INFO_REQ");
          }
          auto session = std::make_unique<FakeSession>(&server_);
          fake_ = session.get();
          return session;
        };
  }
  std::shared_ptr<RnbdSession> Open() {
    auto session = RnbdSession::Open(options_, nullptr, Factory());
    EXPECT_TRUE(session.ok()) << session.status();
    return session.ok() ? *session : nullptr;
  }
  void WaitForClose() {
    const absl::Time limit = absl::Now() + absl::Seconds(30);
    while (server_.Count(wire::RnbdType::kClose) == 0) {
      ASSERT_LT(absl::Now(), limit);
      std::this_thread::yield();
    }
  }
  // Runs reads until one succeeds, or fails otherwise than by a lost session.
  absl::Status ReadWhenBack(BlockDevice* device) {
    const absl::Time limit = absl::Now() + absl::Seconds(30);
    for (;;) {
      const absl::Status status = device->Read(buffer_, 512, 0, 0);
      if (status.ok() || absl::Now() > limit ||
          Message(status).find("disconnected") == std::string::npos) {
        return status;
      }
      std::this_thread::yield();
    }
  }
  // The session is lost and is back.
  absl::Status ReadAfterReconnect(BlockDevice* device) {
    fake_->Disconnect();
    fake_->Reconnect();
    return ReadWhenBack(device);
  }

  FakeServer server_;
  GatewayOptions options_;
  FakeSession* fake_ = nullptr;
  int connects_ = 0;
  int refusals_ = 0;
  uint8_t buffer_[4096] = {};
};

}  // namespace rnbd::gateway

#endif  // TESTS_GATEWAY_RNBD_SESSION_FIXTURE_H_
