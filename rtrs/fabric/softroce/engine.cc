#include "rtrs/fabric/softroce/engine.h"

#include <algorithm>
#include <utility>

#include "rtrs/base/log.h"
#include "rtrs/fabric/softroce/icrc.h"
#include "rtrs/fabric/softroce/queue_pair.h"

namespace rtrs::softroce {
namespace {

constexpr size_t kTrains = 16;  // received with one call
// Calls of one Poll, so that a flood does not keep out timers and senders.
constexpr int kReceiveCalls = 4;
constexpr absl::Duration kLogInterval = absl::Seconds(5);
// IP, UDP, BTH, extension headers and ICRC: what Linux leaves for them.
constexpr uint32_t kHeaderRoom = 96;
constexpr uint32_t kMaxWindow = 128;  // packets
constexpr uint32_t kMinWindow = 16;

}  // namespace

const char* DropName(Drop drop) {
  switch (drop) {
    case Drop::kMalformed:
      return "malformed";
    case Drop::kUnknownQpn:
      return "unknown queue pair";
    case Drop::kWrongSource:
      return "wrong source address";
    case Drop::kDamaged:
      return "wrong ICRC";
    case Drop::kUnexpected:
      return "queue pair not connected";
    case Drop::kManagement:
      return "bad management datagram";
    case Drop::kCount:
      break;
  }
  return "unknown";
}

Engine::Engine(Host* host, std::unique_ptr<DatagramSocket> socket)
    : host_(host),
      socket_(std::move(socket)),
      batch_(socket_.get()),
      cm_(this) {}

uint32_t Engine::Reserve(Qp* qp) {
  for (;;) {
    const uint32_t qpn = host_->random()->Uint32() & kPsnMask;
    if (qpn <= kGsiQpn || qpn == kMulticastQpn) continue;
    if (qps_.try_emplace(qpn, qp).second) return qpn;
  }
}

void Engine::Silence(uint32_t qpn) { qps_[qpn] = nullptr; }

void Engine::Release(uint32_t qpn) { qps_.erase(qpn); }

void Engine::Forget(Qp* qp) {
  std::erase(touched_, qp);
  std::erase(owing_, qp);
}

IdSequence* Engine::Join(const SocketAddress& peer) {
  Peer& known = peers_[peer.HostString()];
  ++known.queue_pairs;
  return &known.ids;
}

void Engine::Part(const SocketAddress& peer) {
  const auto known = peers_.find(peer.HostString());
  if (--known->second.queue_pairs == 0) peers_.erase(known);
}

bool Engine::Poll(absl::Time now) {
  bool any = false;
  std::array<TrainIn, kTrains> trains;
  for (int call = 0; call < kReceiveCalls; ++call) {
    const int n = socket_->Receive(absl::MakeSpan(trains));
    for (int i = 0; i < n; ++i) {
      const TrainIn& train = trains[static_cast<size_t>(i)];
      absl::Span<const uint8_t> rest = train.bytes;
      for (uint32_t place = 0; !rest.empty(); ++place) {
        const size_t size = std::min(rest.size(), train.segment);
        OnDatagram(*train.from, rest.first(size), place, now);
        rest.remove_prefix(size);
      }
    }
    if (n > 0) any = true;
    if (n < static_cast<int>(kTrains)) break;
  }
  for (const Unreachable& report : socket_->TakeUnreachable()) {
    cm_.OnUnreachable(report.peer, report.error);
    any = true;
  }
  for (Qp* qp : touched_) qp->AfterPackets(now);
  touched_.clear();
  if (now >= cm_.NextDeadline()) {
    cm_.OnTimer(now);
    any = true;
  }
  // Nothing of it stays pinned while the packets of others are handled.
  Send(false);
  return any;
}

void Engine::OnDatagram(const SocketAddress& from,
                        absl::Span<const uint8_t> datagram, uint32_t place,
                        absl::Time now) {
  ++stats_.received;
  Packet packet;
  const ParseError error = Parse(datagram, &packet);
  if (error != ParseError::kNone) {
    RTRS_LOG(trace, "softroce: {} from {}", ParseErrorName(error),
             from.ToString());
    return Count(Drop::kMalformed, from);
  }
  if (packet.bth.dest_qpn == kGsiQpn) {
    return OnManagement(from, datagram, packet, now);
  }
  const auto found = qps_.find(packet.bth.dest_qpn);
  if (found == qps_.end() || found->second == nullptr) {
    return Count(Drop::kUnknownQpn, from);
  }
  Qp* qp = found->second;
  if (qp->OnPacket(from, datagram, place, packet, now)) touched_.push_back(qp);
}

void Engine::OnManagement(const SocketAddress& from,
                          absl::Span<const uint8_t> datagram,
                          const Packet& packet, absl::Time now) {
  if (from.family() != local_address().family() ||
      !CheckIcrc(IcrcSeed(from, local_address()), datagram, 0).has_value()) {
    return Count(Drop::kDamaged, from);
  }
  if (packet.deth.qkey != kGsiQkey ||
      !cm_.OnDatagram(from, packet.payload, now)) {
    Count(Drop::kManagement, from);
  }
}

void Engine::Send(bool acks) {
  if (acks && !owing_.empty()) {
    for (Qp* qp : std::exchange(owing_, {})) {
      if (batch_.full()) Send(false);
      qp->SendAck();
    }
  }
  if (batch_.empty() || batch_.Send() || !trains_) return;
  RTRS_LOG(info,
           "softroce: {}: the kernel does not send trains of packets "
           "(UDP_SEGMENT); going on without",
           local_address().ToString());
  trains_ = false;
  for (const auto& [qpn, qp] : qps_) {
    if (qp != nullptr) qp->StopTrains();
  }
}

uint32_t Engine::PathMtu(const SocketAddress& peer) const {
  const uint32_t route = host_->transport()->RouteMtu(local_address(), peer);
  uint32_t mtu = 4096;
  while (mtu > 256 && mtu + kHeaderRoom > route) mtu /= 2;
  return mtu;
}

uint32_t Engine::Window(uint32_t mtu) const {
  // Half of the buffer: others share it.
  return std::clamp(
      static_cast<uint32_t>(socket_->receive_buffer() / (2 * size_t{mtu})),
      kMinWindow, kMaxWindow);
}

void Engine::Count(Drop drop, const SocketAddress& from) {
  const uint64_t count = ++stats_.dropped[static_cast<size_t>(drop)];
  RTRS_LOG_EVERY(info, kLogInterval,
                 "softroce: {}: dropped {} packets ({}), the last from {}",
                 local_address().ToString(), count, DropName(drop),
                 from.ToString());
}

}  // namespace rtrs::softroce
