#include "rtrs/fabric/softiwarp/listener.h"

#include <errno.h>

#include <utility>

#include "rtrs/base/log.h"
#include "rtrs/fabric/softiwarp/connect_request.h"
#include "rtrs/fabric/softiwarp/device_limits.h"

namespace rtrs::fabric::softiwarp {
namespace {

constexpr absl::Duration kLogInterval = absl::Seconds(5);
// Connections taken at a time, so that a flood does not hold up the others.
constexpr int kAcceptBatch = 64;

}  // namespace

HalfOpen::HalfOpen(IwarpListener* listener, std::unique_ptr<ByteStream> stream)
    : listener_(listener),
      channel_(listener->channel()),
      stream_(std::move(stream)) {
  channel_->AddRare();
}

HalfOpen::~HalfOpen() {
  if (stream_ != nullptr) Detach();
  channel_->RemoveRare();
}

absl::Status HalfOpen::Start() {
  channel_->SetTimer(this, kRequestTimeout);
  return channel_->Watch(stream_.get(), kReadable, this);
}

std::unique_ptr<ByteStream> HalfOpen::Detach() {
  channel_->CancelTimer(this);
  channel_->Unwatch(stream_.get());
  return std::move(stream_);
}

void HalfOpen::Close(absl::string_view why) {
  RTRS_LOG_EVERY(info, kLogInterval, "softiwarp: closing {} in set-up: {}",
                 stream_->peer_address().ToString(), why);
  Detach();
  listener_->Remove(this);
}

void HalfOpen::Refuse(absl::string_view why) {
  RTRS_LOG_EVERY(info, kLogInterval, "softiwarp: refusing {}: {}",
                 stream_->peer_address().ToString(), why);
  channel_->Linger(Detach(), EncodeMpaFrame(ReplyTo(frame_, /*crc=*/false,
                                                    /*rejected=*/true, {})));
  listener_->Remove(this);
}

void HalfOpen::OnTimer() { Close("no complete MPA Request in time"); }

void HalfOpen::OnReady(uint32_t /*interest*/) {
  const iovec part = {&buffer_[used_], buffer_.size() - used_};
  const ssize_t n = stream_->Read({&part, 1});
  if (n == -EAGAIN) return;
  if (n <= 0) return Close(n == 0 ? "the peer left" : "the connection failed");
  used_ += static_cast<size_t>(n);
  const MpaParse parse =
      ParseMpaFrame({buffer_.data(), used_}, /*reply=*/false, &frame_);
  switch (parse.result) {
    case MpaParse::Result::kIncomplete:
      return;
    case MpaParse::Result::kMalformed:
      return Close(parse.problem);
    case MpaParse::Result::kRefused:
      return Refuse(parse.problem);
    case MpaParse::Result::kDone:
      break;
  }
  if (used_ > parse.consumed) return Close("bytes behind the MPA Request");
  if (frame_.markers) return Refuse("it requires markers");
  CmEvent event;
  event.type = CmEvent::Type::kConnectRequest;
  event.request = std::make_unique<IwarpConnectRequest>(
      channel_->mailbox(), Detach(), std::move(frame_));
  channel_->PushEvent(std::move(event));
  listener_->Remove(this);
}

IwarpListener::IwarpListener(Channel* channel,
                             std::unique_ptr<StreamListener> acceptor)
    : channel_(channel), acceptor_(std::move(acceptor)) {
  channel_->AddRare();
}

IwarpListener::~IwarpListener() {
  half_open_.clear();
  channel_->CancelTimer(this);
  channel_->Unwatch(acceptor_.get());
  channel_->RemoveRare();
}

absl::Status IwarpListener::Start() {
  return channel_->Watch(acceptor_.get(), kReadable, this);
}

void IwarpListener::OnReady(uint32_t /*interest*/) {
  for (int i = 0; i < kAcceptBatch; ++i) {
    absl::StatusOr<std::unique_ptr<ByteStream>> stream = acceptor_->Accept();
    if (!stream.ok()) {
      RTRS_LOG_EVERY(warn, kLogInterval, "softiwarp: {}", stream.status());
      // The connection stays in the queue: asking at once would spin.
      channel_->Rewatch(acceptor_.get(), 0, this);
      channel_->SetTimer(this, kAcceptPause);
      return;
    }
    if (*stream == nullptr) return;
    if (half_open_.size() >= kMaxHalfOpen) {
      RTRS_LOG_EVERY(warn, kLogInterval,
                     "softiwarp: closing {}: {} connections are in set-up",
                     (*stream)->peer_address().ToString(), half_open_.size());
      continue;
    }
    auto half_open = std::make_unique<HalfOpen>(this, *std::move(stream));
    if (const absl::Status status = half_open->Start(); !status.ok()) {
      RTRS_LOG_EVERY(warn, kLogInterval, "softiwarp: {}", status);
      continue;
    }
    half_open_[half_open.get()] = std::move(half_open);
  }
}

void IwarpListener::OnTimer() {
  channel_->Rewatch(acceptor_.get(), kReadable, this);
}

void IwarpListener::Remove(HalfOpen* half_open) {
  auto it = half_open_.find(half_open);
  channel_->Bury(std::move(it->second));
  half_open_.erase(it);
}

}  // namespace rtrs::fabric::softiwarp
