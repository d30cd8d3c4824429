#include "rtrs/fabric/softroce/host.h"

#include <errno.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/softroce/channel.h"
#include "rtrs/fabric/softroce/engine.h"
#include "rtrs/fabric/softroce/packet.h"

namespace rtrs::softroce {
namespace {

constexpr int kLastLoopback = 254;  // 127.0.0.x

}  // namespace

Host::Host(DatagramTransport* transport, Clock* clock, Random* random)
    : transport_(transport),
      clock_(clock),
      random_(random),
      guid_(random->Uint64() | 1) {}

Host::~Host() = default;

Engine* Host::Find(const SocketAddress& local) const {
  const auto found = engines_.find(local.HostString());
  return found == engines_.end() ? nullptr : found->second.get();
}

absl::StatusOr<Engine*> Host::EngineAt(const SocketAddress& local) {
  if (Engine* engine = Find(local)) return engine;
  RTRS_ASSIGN_OR_RETURN(std::unique_ptr<DatagramSocket> socket,
                        transport_->Open(local));
  RTRS_LOG(info, "softroce: using {}, receive buffer {} KiB",
           socket->local_address().ToString(), socket->receive_buffer() >> 10);
  auto engine = std::make_unique<Engine>(this, std::move(socket));
  for (Channel* channel : channels_) channel->Watch(engine.get());
  Engine* made = engine.get();
  engines_[local.HostString()] = std::move(engine);
  return made;
}

absl::StatusOr<Engine*> Host::EngineFor(const SocketAddress& source,
                                        const SocketAddress& destination) {
  if (source.is_set()) return EngineAt(source);
  RTRS_ASSIGN_OR_RETURN(const SocketAddress routed,
                        transport_->SourceFor(destination));
  absl::StatusOr<Engine*> engine = EngineAt(routed);
  if (engine.ok() || ErrnoOf(engine.status()) != EADDRINUSE ||
      !destination.IsLoopback() || destination.family() != AF_INET) {
    return engine;
  }
  // A server of this host has 127.0.0.1; any other loopback address will do.
  for (int i = 2; i <= kLastLoopback; ++i) {
    auto local = SocketAddress::Parse(absl::StrCat("127.0.0.", i), kUdpPort);
    absl::StatusOr<Engine*> other = EngineAt(*local);
    if (other.ok()) return other;
  }
  return engine;
}

void Host::AddChannel(Channel* channel) {
  channels_.push_back(channel);
  for (const auto& [name, engine] : engines_) channel->Watch(engine.get());
}

void Host::RemoveChannel(Channel* channel) {
  std::erase(channels_, channel);
  if (channels_.empty()) engines_.clear();
}

bool Host::Poll(absl::Time now) {
  bool busy = false;
  for (const auto& [name, engine] : engines_) busy |= engine->Poll(now);
  return busy;
}

void Host::Send(bool acks) {
  for (const auto& [name, engine] : engines_) engine->Send(acks);
}

absl::Time Host::NextDeadline() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [name, engine] : engines_) {
    next = std::min(next, engine->NextDeadline());
  }
  return next;
}

}  // namespace rtrs::softroce
