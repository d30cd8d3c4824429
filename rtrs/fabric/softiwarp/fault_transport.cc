#include "rtrs/fabric/softiwarp/fault_transport.h"

#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"

namespace rtrs::fabric {
namespace {

// More than an MPA request or reply has with the private data that is usual.
constexpr uint64_t kSetUpBytes = 256;

using IoVector = absl::InlinedVector<iovec, 8>;

// The first `limit` bytes of `parts`.
IoVector Truncate(absl::Span<const iovec> parts, size_t limit) {
  IoVector result;
  for (iovec part : parts) {
    part.iov_len = std::min(part.iov_len, limit);
    limit -= part.iov_len;
    if (part.iov_len > 0) result.push_back(part);
  }
  return result;
}

size_t TotalOf(absl::Span<const iovec> parts) {
  size_t total = 0;
  for (const iovec& part : parts) total += part.iov_len;
  return total;
}

void FlipBit(absl::Span<const iovec> parts, size_t byte, unsigned bit) {
  for (const iovec& part : parts) {
    if (byte < part.iov_len) {
      static_cast<uint8_t*>(part.iov_base)[byte] ^=
          static_cast<uint8_t>(1U << bit);
      return;
    }
    byte -= part.iov_len;
  }
}

}  // namespace

// Reports cut streams as ready, whatever the poller under it thinks.
class FaultPoller : public Poller {
 public:
  explicit FaultPoller(std::unique_ptr<Poller> inner)
      : inner_(std::move(inner)) {}

  absl::Status Add(Pollable* what, uint32_t interest, void* tag) override;
  void Modify(Pollable* what, uint32_t interest, void* tag) override;
  void Remove(Pollable* what) override;
  int Poll(absl::Span<Ready> out) override;
  int fd() const override { return inner_->fd(); }
  void Wake() override { inner_->Wake(); }

 private:
  struct Entry {
    FaultStream* stream;
    void* tag;
  };
  std::unique_ptr<Poller> inner_;
  std::vector<Entry> entries_;
};

class FaultStream : public ByteStream {
 public:
  FaultStream(FaultTransport* faults, std::unique_ptr<ByteStream> inner)
      : faults_(faults), inner_(std::move(inner)) {
    faults_->streams_.push_back(this);
  }
  ~FaultStream() override {
    if (poller_ != nullptr) poller_->Remove(this);
    std::erase(faults_->streams_, this);
  }

  Pollable* Underlying() override { return inner_->Underlying(); }

  ssize_t Read(absl::Span<const iovec> to) override {
    if (faults_->IsHeld(local_address(), peer_address())) return -EAGAIN;
    const FaultPlan& plan = faults_->plan_;
    if (faults_->Strikes(plan.cut)) Cut();
    if (cut_) return -ECONNRESET;
    const absl::Time now = faults_->clock_->Now();
    if (faults_->Strikes(plan.delay)) {
      const int64_t most = absl::ToInt64Microseconds(plan.max_delay);
      quiet_until_ = now + absl::Microseconds(faults_->random_->Below(
                               static_cast<uint64_t>(most) + 1));
    }
    if (now < quiet_until_) return -EAGAIN;
    ssize_t n;
    if (faults_->Strikes(plan.split)) {
      n = inner_->Read(Truncate(to, 1 + faults_->random_->Below(TotalOf(to))));
    } else {
      n = inner_->Read(to);
    }
    const uint64_t before = read_;
    if (n > 0) read_ += static_cast<uint64_t>(n);
    if (before >= kSetUpBytes && n > 0 && faults_->Strikes(plan.corrupt)) {
      FlipBit(to, faults_->random_->Below(static_cast<uint64_t>(n)),
              static_cast<unsigned>(faults_->random_->Below(8)));
    }
    return n;
  }

  ssize_t Write(absl::Span<const iovec> from) override {
    if (faults_->frozen_) return -EAGAIN;
    const FaultPlan& plan = faults_->plan_;
    if (faults_->Strikes(plan.cut)) Cut();
    if (cut_) return -ECONNRESET;
    if (faults_->Strikes(plan.split)) {
      return inner_->Write(
          Truncate(from, 1 + faults_->random_->Below(TotalOf(from))));
    }
    return inner_->Write(from);
  }

  int ConnectResult() override {
    return cut_ ? -ECONNREFUSED : inner_->ConnectResult();
  }
  void ShutdownWrite() override { inner_->ShutdownWrite(); }
  void Abort() override { inner_->Abort(); }
  const SocketAddress& local_address() const override {
    return inner_->local_address();
  }
  const SocketAddress& peer_address() const override {
    return inner_->peer_address();
  }
  uint32_t max_segment() const override { return inner_->max_segment(); }
  bool stays_on_host() const override { return inner_->stays_on_host(); }

  // From now on every call finds a reset, and the peer finds one as soon as
  // the owner closes.
  void Cut() {
    cut_ = true;
    inner_->Abort();
    if (poller_ != nullptr) poller_->Wake();
  }
  bool cut() const { return cut_; }
  void set_poller(FaultPoller* poller) { poller_ = poller; }

 private:
  FaultTransport* faults_;
  std::unique_ptr<ByteStream> inner_;
  FaultPoller* poller_ = nullptr;
  bool cut_ = false;
  uint64_t read_ = 0;
  absl::Time quiet_until_ = absl::InfinitePast();
};

absl::Status FaultPoller::Add(Pollable* what, uint32_t interest, void* tag) {
  if (auto* stream = dynamic_cast<FaultStream*>(what)) {
    entries_.push_back({stream, tag});
    stream->set_poller(this);
  }
  return inner_->Add(what, interest, tag);
}

void FaultPoller::Modify(Pollable* what, uint32_t interest, void* tag) {
  inner_->Modify(what, interest, tag);
}

void FaultPoller::Remove(Pollable* what) {
  if (auto* stream = dynamic_cast<FaultStream*>(what)) {
    std::erase_if(entries_,
                  [stream](const Entry& e) { return e.stream == stream; });
    stream->set_poller(nullptr);
  }
  inner_->Remove(what);
}

int FaultPoller::Poll(absl::Span<Ready> out) {
  auto n = static_cast<size_t>(inner_->Poll(out));
  for (const Entry& entry : entries_) {
    if (!entry.stream->cut()) continue;
    const bool known =
        std::any_of(out.begin(), out.begin() + static_cast<ssize_t>(n),
                    [&](const Ready& r) { return r.tag == entry.tag; });
    if (!known && n < out.size()) {
      out[n++] = {entry.tag, kReadable | kWritable};
    }
  }
  return static_cast<int>(n);
}

class FaultListener : public StreamListener {
 public:
  FaultListener(FaultTransport* faults, std::unique_ptr<StreamListener> inner)
      : faults_(faults), inner_(std::move(inner)) {}
  Pollable* Underlying() override { return inner_->Underlying(); }
  absl::StatusOr<std::unique_ptr<ByteStream>> Accept() override {
    if (faults_->frozen_) return nullptr;
    auto stream = inner_->Accept();
    if (!stream.ok() || *stream == nullptr) return stream;
    return std::make_unique<FaultStream>(faults_, *std::move(stream));
  }
  const SocketAddress& local_address() const override {
    return inner_->local_address();
  }

 private:
  FaultTransport* faults_;
  std::unique_ptr<StreamListener> inner_;
};

bool FaultTransport::Strikes(uint32_t per_million) {
  if (per_million == 0 || random_->Below(1000000) >= per_million) return false;
  ++faults_;
  return true;
}

bool FaultTransport::IsHeld(const SocketAddress& local,
                            const SocketAddress& peer) const {
  if (frozen_) return true;
  return std::any_of(held_.begin(), held_.end(), [&](const auto& host) {
    return host.SameHost(local) || host.SameHost(peer);
  });
}

void FaultTransport::set_held(const SocketAddress& host, bool held) {
  std::erase_if(held_, [&](const auto& other) { return other.SameHost(host); });
  if (held) held_.push_back(host);
}

void FaultTransport::Cut(const SocketAddress& host) {
  for (FaultStream* stream : streams_) {
    if (host.SameHost(stream->local_address()) ||
        host.SameHost(stream->peer_address())) {
      stream->Cut();
    }
  }
}

void FaultTransport::CutAll() {
  for (FaultStream* stream : streams_) stream->Cut();
}

absl::StatusOr<std::unique_ptr<ByteStream>> FaultTransport::Connect(
    const SocketAddress& source, const SocketAddress& destination) {
  if (Strikes(plan_.refuse)) {
    return ErrnoError(ECONNREFUSED,
                      absl::StrCat("connect to ", destination.ToString()));
  }
  auto stream = inner_->Connect(source, destination);
  if (!stream.ok()) return stream;
  return std::make_unique<FaultStream>(this, *std::move(stream));
}

absl::StatusOr<std::unique_ptr<StreamListener>> FaultTransport::Listen(
    const SocketAddress& address, int backlog) {
  auto listener = inner_->Listen(address, backlog);
  if (!listener.ok()) return listener;
  return std::make_unique<FaultListener>(this, *std::move(listener));
}

absl::StatusOr<std::unique_ptr<Poller>> FaultTransport::CreatePoller() {
  auto poller = inner_->CreatePoller();
  if (!poller.ok()) return poller;
  return std::make_unique<FaultPoller>(*std::move(poller));
}

}  // namespace rtrs::fabric
