#include "rtrs/fabric/softiwarp/memory_transport.h"

#include <errno.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/event_fd.h"
#include "rtrs/base/status_macros.h"

namespace rtrs::fabric {
namespace {

class MemoryPoller;

}  // namespace

// What a MemoryPoller watches.
class MemoryEnd {
 public:
  virtual ~MemoryEnd();
  virtual uint32_t ReadyNow() const = 0;  // set of Interest
  void Notify();

  MemoryPoller* poller = nullptr;
};

namespace {

class MemoryPoller : public Poller {
 public:
  explicit MemoryPoller(EventFd event) : event_(std::move(event)) {}
  ~MemoryPoller() override {
    for (const Entry& entry : entries_) entry.end->poller = nullptr;
  }

  absl::Status Add(Pollable* what, uint32_t interest, void* tag) override {
    auto* end = dynamic_cast<MemoryEnd*>(what->Underlying());
    end->poller = this;
    entries_.push_back({end, interest, tag});
    Wake();
    return absl::OkStatus();
  }
  void Modify(Pollable* what, uint32_t interest, void* tag) override {
    auto* end = dynamic_cast<MemoryEnd*>(what->Underlying());
    for (Entry& entry : entries_) {
      if (entry.end == end) entry = {end, interest, tag};
    }
    Wake();
  }
  void Remove(Pollable* what) override {
    Remove(dynamic_cast<MemoryEnd*>(what->Underlying()));
  }
  void Remove(MemoryEnd* end) {
    end->poller = nullptr;
    std::erase_if(entries_, [end](const Entry& e) { return e.end == end; });
  }

  int Poll(absl::Span<Ready> out) override {
    event_.Clear();
    size_t stored = 0;
    // Starts each time one further, so that none starves when `out` is short.
    const size_t first = entries_.empty() ? 0 : turn_++ % entries_.size();
    for (size_t i = 0; i < entries_.size() && stored < out.size(); ++i) {
      const Entry& entry = entries_[(first + i) % entries_.size()];
      const uint32_t ready = entry.end->ReadyNow() & entry.interest;
      if (ready != 0) out[stored++] = {entry.tag, ready};
    }
    return static_cast<int>(stored);
  }
  int fd() const override { return event_.fd(); }
  void Wake() override { event_.Raise(); }

 private:
  struct Entry {
    MemoryEnd* end;
    uint32_t interest;
    void* tag;
  };
  const EventFd event_;
  size_t turn_ = 0;
  std::vector<Entry> entries_;
};

class MemoryStream;

// One connection; side 0 connected, side 1 accepted.
struct Wire {
  struct Direction {
    std::deque<uint8_t> bytes;  // written by one side, not read by the other
    bool ended = false;
  };
  std::array<Direction, 2> from;  // by writing side
  std::array<MemoryStream*, 2> ends{};
  bool accepted = false;
  int error = 0;  // errno of a reset or refused connection
};

class MemoryStream : public ByteStream, public MemoryEnd {
 public:
  MemoryStream(std::shared_ptr<Wire> wire, size_t side,
               const MemoryTransport::Options& options,
               const SocketAddress& local, const SocketAddress& peer)
      : wire_(std::move(wire)),
        side_(side),
        options_(options),
        local_(local),
        peer_(peer) {
    wire_->ends[side_] = this;
  }
  ~MemoryStream() override {
    wire_->ends[side_] = nullptr;
    if (abort_ || !in().bytes.empty()) {
      wire_->error = ECONNRESET;
      in().bytes.clear();
      out().bytes.clear();
    }
    out().ended = true;
    NotifyPeer();
  }

  ssize_t Read(absl::Span<const iovec> to) override {
    if (wire_->error != 0) return -wire_->error;
    size_t total = 0;
    for (const iovec& part : to) {
      const size_t n = std::min(part.iov_len, in().bytes.size());
      std::copy_n(in().bytes.begin(), n, static_cast<uint8_t*>(part.iov_base));
      in().bytes.erase(in().bytes.begin(),
                       in().bytes.begin() + static_cast<ssize_t>(n));
      total += n;
    }
    if (total > 0) {
      NotifyPeer();
      return static_cast<ssize_t>(total);
    }
    return in().ended ? 0 : -EAGAIN;
  }

  ssize_t Write(absl::Span<const iovec> from) override {
    if (wire_->error != 0) return -wire_->error;
    if (out().ended || (wire_->accepted && peer_end() == nullptr)) {
      return -EPIPE;
    }
    size_t total = 0;
    for (const iovec& part : from) {
      const size_t n =
          std::min(part.iov_len, options_.capacity - out().bytes.size());
      const auto* bytes = static_cast<const uint8_t*>(part.iov_base);
      out().bytes.insert(out().bytes.end(), bytes, bytes + n);
      total += n;
    }
    if (total == 0) return -EAGAIN;
    NotifyPeer();
    return static_cast<ssize_t>(total);
  }

  int ConnectResult() override { return -wire_->error; }
  void ShutdownWrite() override {
    out().ended = true;
    NotifyPeer();
  }
  void Abort() override { abort_ = true; }
  const SocketAddress& local_address() const override { return local_; }
  const SocketAddress& peer_address() const override { return peer_; }
  uint32_t max_segment() const override { return options_.max_segment; }
  bool stays_on_host() const override { return options_.stays_on_host; }

  uint32_t ReadyNow() const override {
    uint32_t ready = 0;
    const Wire::Direction& incoming = wire_->from[1 - side_];
    if (wire_->error != 0) return kReadable | kWritable;
    if (!incoming.bytes.empty() || incoming.ended) ready |= kReadable;
    if (wire_->from[side_].bytes.size() < options_.capacity) ready |= kWritable;
    return ready;
  }

 private:
  Wire::Direction& in() { return wire_->from[1 - side_]; }
  Wire::Direction& out() { return wire_->from[side_]; }
  MemoryStream* peer_end() { return wire_->ends[1 - side_]; }
  void NotifyPeer() {
    if (peer_end() != nullptr) peer_end()->Notify();
  }

  std::shared_ptr<Wire> wire_;
  size_t side_;
  MemoryTransport::Options options_;
  SocketAddress local_;
  SocketAddress peer_;
  bool abort_ = false;
};

}  // namespace

MemoryEnd::~MemoryEnd() {
  if (poller != nullptr) poller->Remove(this);
}

void MemoryEnd::Notify() {
  if (poller != nullptr) poller->Wake();
}

class MemoryListener : public StreamListener, public MemoryEnd {
 public:
  MemoryListener(MemoryTransport* transport, const SocketAddress& address)
      : transport_(transport), address_(address) {
    transport_->listeners_[address_.ToString()] = this;
  }
  ~MemoryListener() override {
    transport_->listeners_.erase(address_.ToString());
  }

  absl::StatusOr<std::unique_ptr<ByteStream>> Accept() override {
    if (waiting_.empty()) return nullptr;
    std::unique_ptr<ByteStream> stream = std::move(waiting_.front());
    waiting_.pop_front();
    return stream;
  }
  const SocketAddress& local_address() const override { return address_; }
  uint32_t ReadyNow() const override {
    return waiting_.empty() ? 0 : uint32_t{kReadable};
  }

  void Offer(std::unique_ptr<ByteStream> stream) {
    waiting_.push_back(std::move(stream));
    Notify();
  }

 private:
  MemoryTransport* transport_;
  SocketAddress address_;
  std::deque<std::unique_ptr<ByteStream>> waiting_;
};

absl::StatusOr<std::unique_ptr<ByteStream>> MemoryTransport::Connect(
    const SocketAddress& source, const SocketAddress& destination) {
  SocketAddress local = source;
  if (!local.is_set()) {
    local = *SocketAddress::Parse(
        destination.family() == AF_INET6 ? "::1" : "127.0.0.1", 0);
  }
  if (local.port() == 0) local.set_port(next_port_++);
  auto wire = std::make_shared<Wire>();
  auto stream =
      std::make_unique<MemoryStream>(wire, 0, options_, local, destination);
  auto it = listeners_.find(destination.ToString());
  if (it == listeners_.end()) {
    wire->error = ECONNREFUSED;
    return stream;
  }
  wire->accepted = true;
  it->second->Offer(
      std::make_unique<MemoryStream>(wire, 1, options_, destination, local));
  return stream;
}

absl::StatusOr<std::unique_ptr<StreamListener>> MemoryTransport::Listen(
    const SocketAddress& address, int /*backlog*/) {
  SocketAddress bound = address;
  if (bound.port() == 0) bound.set_port(next_port_++);
  if (listeners_.contains(bound.ToString())) {
    return ErrnoError(EADDRINUSE, absl::StrCat("listen on ", bound.ToString()));
  }
  return std::make_unique<MemoryListener>(this, bound);
}

absl::StatusOr<std::unique_ptr<Poller>> MemoryTransport::CreatePoller() {
  RTRS_ASSIGN_OR_RETURN(EventFd event, EventFd::Create());
  return std::make_unique<MemoryPoller>(std::move(event));
}

}  // namespace rtrs::fabric
