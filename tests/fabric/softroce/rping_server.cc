// The server of rdma-core's rping, over softroce: a foreign verbs program as
// the peer of this fabric, with data that it checks itself.
//
//   rping_server ADDRESS PORT COUNT
//   rping -c -a ADDRESS -p PORT -C COUNT -V [-S SIZE]      on the other machine
//
// Serves one client for COUNT rounds, then waits for it to leave. Exit code 0
// if all went as the protocol says, which is, for each round:
//   1. The client SENDs where its ping is: address (8), rkey (4), length (4),
//      big endian. The real server would RDMA READ it, which RTRS never does
//      and this fabric therefore cannot; the text is known beforehand.
//   2. The server SENDs 16 bytes that say "go on".
//   3. The client SENDs where the pong is to go, in the same form.
//   4. The server RDMA WRITEs the ping there, SENDs 16 bytes behind it, and the
//      client compares.
#include <poll.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/softroce/softroce.h"
#include "rtrs/wire/coding.h"
#include "tests/fabric/endpoint.h"

namespace rtrs::softroce {
namespace {

using fabric::Bytes;
using fabric::CmEvent;
using fabric::WcOpcode;
using fabric::WcStatus;

constexpr size_t kAdvertisement = 16;
constexpr uint32_t kMaxPing = 1 << 20;

// What round `round` of rping sends: its number, then characters from 'A' to
// 'z' that begin one later each round, then a NUL.
Bytes Ping(int round, uint32_t size) {
  constexpr int kCharacters = 'z' - 'A' + 1;
  const std::string text = absl::StrCat("rdma-ping-", round, ": ");
  Bytes ping(size);
  std::copy_n(text.begin(), std::min<size_t>(text.size(), size), ping.begin());
  for (size_t i = text.size(); i < size; ++i) {
    const size_t step = static_cast<size_t>(round) + i - text.size();
    ping[i] = static_cast<uint8_t>('A' + step % kCharacters);
  }
  ping.back() = 0;
  return ping;
}

class RpingServer {
 public:
  RpingServer(fabric::Fabric* fabric, int rounds)
      : rounds_(rounds), end_(fabric), inbox_(2 * kAdvertisement), go_on_(16) {
    inbox_region_ = end_.Register(&inbox_);
    go_on_region_ = end_.Register(&go_on_, 0);
  }

  absl::Status Serve(const SocketAddress& address) {
    RTRS_ASSIGN_OR_RETURN(listener_, end_.channel->Listen(address, 1));
    std::printf("listening\n");
    std::fflush(stdout);
    while (!left_) {
      if (!end_.Step()) Wait();
      for (CmEvent& event : std::exchange(end_.events, {})) {
        RTRS_RETURN_IF_ERROR(OnEvent(&event));
      }
      for (const auto& wc : std::exchange(end_.completions, {})) {
        RTRS_RETURN_IF_ERROR(OnCompletion(wc));
      }
    }
    if (round_ == rounds_) return absl::OkStatus();
    return absl::AbortedError(absl::StrCat("the client left after ", round_,
                                           " of ", rounds_, " rounds"));
  }

 private:
  void Wait() {
    if (!end_.channel->Arm()) return;
    const absl::Duration wait =
        std::min(end_.channel->NextDeadline() - Clock::System()->Now(),
                 absl::Seconds(1));
    pollfd p = {end_.channel->fd(), POLLIN, 0};
    poll(&p, 1, static_cast<int>(absl::ToInt64Milliseconds(wait)) + 1);
  }

  absl::Status OnEvent(CmEvent* event) {
    switch (event->type) {
      case CmEvent::Type::kConnectRequest:
        if (qp_ != nullptr) return absl::OkStatus();  // one client only
        qp_ = end_.NewQp();
        RTRS_RETURN_IF_ERROR(PostReceive(0));
        RTRS_RETURN_IF_ERROR(PostReceive(1));
        return qp_->Accept(std::move(event->request), {});
      case CmEvent::Type::kDisconnected:
        qp_->Disconnect();
        left_ = true;
        return absl::OkStatus();
      default:
        return absl::OkStatus();
    }
  }

  absl::Status OnCompletion(const fabric::WorkCompletion& wc) {
    if (wc.status == WcStatus::kFlushed) return absl::OkStatus();
    if (wc.status != WcStatus::kSuccess) {
      return absl::InternalError(fabric::WcStatusName(wc.status));
    }
    if (wc.opcode != WcOpcode::kRecv) return absl::OkStatus();
    if (wc.byte_len != kAdvertisement) {
      return absl::InvalidArgumentError(
          absl::StrCat("an advertisement of ", wc.byte_len, " bytes"));
    }
    const uint8_t* message = &inbox_[wc.wr_id * kAdvertisement];
    const auto address = wire::GetBe<uint64_t>(message);
    const auto rkey = wire::GetBe<uint32_t>(message + 8);
    const auto size = wire::GetBe<uint32_t>(message + 12);
    RTRS_RETURN_IF_ERROR(PostReceive(wc.wr_id));
    if (size == 0 || size > kMaxPing) {
      return absl::InvalidArgumentError(absl::StrCat("a ping of ", size));
    }
    if (std::exchange(pinged_, !pinged_)) {
      RTRS_RETURN_IF_ERROR(WritePong(address, rkey, size));
      ++round_;
    }
    fabric::SendWr wr;
    const fabric::Sge sge = {go_on_.data(), kAdvertisement,
                             go_on_region_->lkey()};
    wr.flags = fabric::kSignaled;
    wr.sg_list = {&sge, 1};
    return qp_->PostSend({&wr, 1}, fabric::Doorbell::kDeferred);
  }

  absl::Status PostReceive(uint64_t slot) {
    const fabric::RecvWr wr = {slot, &inbox_[slot * kAdvertisement],
                               kAdvertisement, inbox_region_->lkey()};
    return qp_->PostRecv({&wr, 1});
  }

  absl::Status WritePong(uint64_t address, uint32_t rkey, uint32_t size) {
    // The round before was acknowledged by what the client sent since.
    pong_region_.reset();
    pong_ = Ping(round_, size);
    pong_region_ = end_.Register(&pong_, 0);
    const fabric::Sge sge = {pong_.data(), size, pong_region_->lkey()};
    fabric::SendWr wr;
    wr.opcode = fabric::WrOpcode::kRdmaWrite;
    wr.sg_list = {&sge, 1};
    wr.remote_address = address;
    wr.rkey = rkey;
    return qp_->PostSend({&wr, 1}, fabric::Doorbell::kDeferred);
  }

  const int rounds_;
  fabric::Endpoint end_;
  Bytes inbox_, go_on_, pong_;
  std::unique_ptr<fabric::MemoryRegion> inbox_region_, go_on_region_,
      pong_region_;
  std::unique_ptr<fabric::Listener> listener_;
  std::unique_ptr<fabric::QueuePair> qp_;
  bool pinged_ = false;  // the pong of this round is still to come
  bool left_ = false;
  int round_ = 0;
};

}  // namespace
}  // namespace rtrs::softroce

int main(int argc, char** argv) {
  uint32_t port = 0;
  int rounds = 0;
  if (argc != 4 || !absl::SimpleAtoi(argv[2], &port) || port > 65535 ||
      !absl::SimpleAtoi(argv[3], &rounds)) {
    std::fprintf(stderr, "usage: rping_server ADDRESS PORT COUNT\n");
    return 2;
  }
  const auto address =
      rtrs::SocketAddress::Parse(argv[1], static_cast<uint16_t>(port));
  absl::Status status = address.status();
  if (status.ok()) {
    auto fabric = rtrs::softroce::NewSoftroce({}, rtrs::softroce::SystemHost());
    rtrs::softroce::RpingServer server(fabric.get(), rounds);
    status = server.Serve(*address);
  }
  if (status.ok()) return 0;
  std::fprintf(stderr, "rping_server: %s\n", status.ToString().c_str());
  return 1;
}
