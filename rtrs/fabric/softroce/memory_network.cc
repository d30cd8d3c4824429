#include "rtrs/fabric/softroce/memory_network.h"

#include <errno.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/fabric/softroce/packet.h"

namespace rtrs::softroce {

class MemorySocket : public DatagramSocket {
 public:
  MemorySocket(MemoryNetwork* network, const SocketAddress& local)
      : network_(network), local_(local) {
    network_->sockets_[local_.HostString()] = this;
  }
  ~MemorySocket() override { network_->sockets_.erase(local_.HostString()); }

  const SocketAddress& local_address() const override { return local_; }

  // Joins equal datagrams of one sender into trains, as the kernel does.
  int Receive(absl::Span<TrainIn> out) override {
    received_.clear();
    received_.reserve(out.size());
    const absl::Time now = network_->clock_->Now();
    while (!arriving_.empty() && arriving_.begin()->first.first <= now) {
      auto& [from, bytes] = arriving_.begin()->second;
      if (!received_.empty() && received_.back().Joins(from, bytes)) {
        Received& train = received_.back();
        train.closed = bytes.size() < train.segment;
        train.bytes.insert(train.bytes.end(), bytes.begin(), bytes.end());
      } else {
        if (received_.size() == out.size()) break;
        received_.push_back({from, bytes, bytes.size(), false});
      }
      queued_ -= bytes.size();
      arriving_.erase(arriving_.begin());
    }
    for (size_t i = 0; i < received_.size(); ++i) {
      out[i] = {&received_[i].from, received_[i].bytes, received_[i].segment};
    }
    return static_cast<int>(received_.size());
  }

  bool Send(absl::Span<const TrainOut> trains) override {
    bool ok = true;
    for (const TrainOut& train : trains) {
      std::vector<uint8_t> bytes;
      for (const iovec& part : train.parts) {
        const auto* data = static_cast<const uint8_t*>(part.iov_base);
        bytes.insert(bytes.end(), data, data + part.iov_len);
      }
      if (train.count > 1 && network_->options_.trains_refused) {
        ok = false;
        continue;
      }
      for (size_t at = 0; at < bytes.size(); at += train.segment) {
        if (at > 0 && network_->options_.trains_lost) break;
        const size_t size = std::min(train.segment, bytes.size() - at);
        const auto* data = bytes.data() + at;
        network_->Carry(this, *train.to, {data, data + size});
      }
    }
    return ok;
  }

  std::vector<Unreachable> TakeUnreachable() override {
    return std::exchange(unreachable_, {});
  }
  size_t receive_buffer() const override {
    return network_->options_.receive_buffer;
  }
  int fd() const override { return -1; }

 private:
  friend class MemoryNetwork;
  struct Received {
    SocketAddress from;
    std::vector<uint8_t> bytes;
    size_t segment;
    bool closed;
    bool Joins(const SocketAddress& sender,
               const std::vector<uint8_t>& datagram) const {
      return !closed && sender == from && datagram.size() <= segment &&
             bytes.size() + datagram.size() <= kMaxTrainBytes;
    }
  };

  MemoryNetwork* const network_;
  const SocketAddress local_;
  std::map<std::pair<absl::Time, uint64_t>,
           std::pair<SocketAddress, std::vector<uint8_t>>>
      arriving_;
  size_t queued_ = 0;  // bytes in arriving_
  std::vector<Received> received_;
  std::vector<Unreachable> unreachable_;
};

absl::StatusOr<std::unique_ptr<DatagramSocket>> MemoryNetwork::Open(
    const SocketAddress& local) {
  if (sockets_.count(local.HostString()) > 0) {
    return ErrnoError(
        EADDRINUSE,
        absl::StrCat("UDP port 4791 of ", local.HostString(), " is taken"));
  }
  SocketAddress address = local;
  address.set_port(kUdpPort);
  return std::make_unique<MemorySocket>(this, address);
}

absl::StatusOr<SocketAddress> MemoryNetwork::SourceFor(
    const SocketAddress& destination) {
  if (destination.IsLoopback()) return destination;
  return SocketAddress::Parse(
      destination.family() == AF_INET6 ? "2001:db8::2" : options_.client,
      kUdpPort);
}

bool MemoryNetwork::Chance(uint32_t per_million) {
  return per_million > 0 && random_->Below(1000000) < per_million;
}

void MemoryNetwork::Carry(MemorySocket* from, const SocketAddress& to,
                          std::vector<uint8_t> datagram) {
  ++stats_.sent;
  if (filter_ && !filter_(from->local_, to, datagram)) {
    ++stats_.lost;
    return;
  }
  const auto found = sockets_.find(to.HostString());
  if (found == sockets_.end()) {
    from->unreachable_.push_back({to, ECONNREFUSED});
    return;
  }
  if (burst_ == 0 && Chance(faults_.lose_burst)) {
    burst_ = 1 + static_cast<uint32_t>(random_->Below(kBurst));
  }
  if (burst_ > 0 || Chance(faults_.lose)) {
    if (burst_ > 0) --burst_;
    ++stats_.lost;
    return;
  }
  if (Chance(faults_.repeat)) {
    Deliver(from->local_, found->second, datagram, faults_.delay);
  }
  absl::Duration delay = faults_.delay;
  if (Chance(faults_.reorder)) {
    delay += kReorderDelay * static_cast<double>(random_->Below(1000)) / 1000;
  }
  if (Chance(faults_.corrupt)) {
    ++stats_.corrupted;
    for (uint64_t i = 1 + random_->Below(4); i > 0; --i) {
      datagram[random_->Below(datagram.size())] ^=
          static_cast<uint8_t>(1 << random_->Below(8));
    }
  }
  Deliver(from->local_, found->second, std::move(datagram), delay);
}

void MemoryNetwork::Deliver(const SocketAddress& from, MemorySocket* to,
                            std::vector<uint8_t> datagram,
                            absl::Duration delay) {
  if (to->queued_ + datagram.size() > options_.receive_buffer) {
    ++stats_.overflowed;
    return;
  }
  to->queued_ += datagram.size();
  to->arriving_[{clock_->Now() + delay, ++count_}] = {from,
                                                      std::move(datagram)};
}

void MemoryNetwork::Inject(const SocketAddress& from, const SocketAddress& to,
                           absl::Span<const uint8_t> datagram) {
  const auto found = sockets_.find(to.HostString());
  if (found == sockets_.end()) return;
  Deliver(from, found->second, {datagram.begin(), datagram.end()},
          absl::ZeroDuration());
}

absl::Time MemoryNetwork::NextArrival() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [host, socket] : sockets_) {
    if (!socket->arriving_.empty()) {
      next = std::min(next, socket->arriving_.begin()->first.first);
    }
  }
  return next;
}

}  // namespace rtrs::softroce
