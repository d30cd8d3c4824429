// How a queue pair ends: orderly after Disconnect, or by a failure.
#include <errno.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/fabric/softiwarp/device_limits.h"
#include "rtrs/fabric/softiwarp/lingering_stream.h"
#include "rtrs/fabric/softiwarp/queue_pair.h"

namespace rtrs::fabric::softiwarp {

Qp::~Qp() {
  if (stream_ != nullptr) {
    // What was sent before Disconnect must survive; anything else is cut.
    if (phase_ == Phase::kHalfClosed) {
      channel_->Linger(DetachStream(), {});
    } else {
      DetachStream()->Abort();
    }
  }
  Move(Phase::kClosed);
  channel_->Forget(this);
  cq_->Forget(this);
}

void Qp::Disconnect() {
  switch (phase_) {
    case Phase::kIdle:
    case Phase::kError:
      Move(Phase::kClosed);
      return;
    case Phase::kConnecting:
    case Phase::kAwaitReply:
    case Phase::kAwaitFirstFpdu:
      Lose(ErrnoError(ESHUTDOWN, "disconnected while connecting"),
           WcStatus::kFlushed);
      Move(Phase::kClosed);
      return;
    case Phase::kOperational:
      break;
    case Phase::kDraining:
    case Phase::kHalfClosed:
    case Phase::kClosed:
      return;
  }
  transmitter_.StopAt(sends_.tail());
  stalled_ = false;
  recvs_.Flush();
  Move(Phase::kDraining);
  channel_->SetTimer(this, kDrainTimeout);
  TrySend();
  if (stream_ == nullptr) return;
  UpdateInterest();
  EndDraining();
}

void Qp::EndDraining() {
  // A fenced side never sent anything, and never will.
  if (phase_ != Phase::kDraining || (transmitter_.has_work() && !fenced_)) {
    return;
  }
  stream_->ShutdownWrite();
  sends_.Flush(WcStatus::kFlushed);
  Move(Phase::kHalfClosed);
  channel_->SetTimer(this, kDrainTimeout);
}

void Qp::OnClosingInput() {
  if (!DiscardInput(stream_.get())) return;
  DetachStream().reset();
  Fail(CmEvent::Type::kDisconnected, ErrnoError(ESHUTDOWN, "disconnected"),
       WcStatus::kFlushed);
}

std::unique_ptr<ByteStream> Qp::DetachStream() {
  // In this order: not being blocked any more asks to be watched for reading.
  SetBlocked(false);
  WatchFor(0);
  return std::move(stream_);
}

void Qp::Lose(const absl::Status& status, WcStatus first) {
  if (stream_ != nullptr) {
    std::unique_ptr<ByteStream> stream = DetachStream();
    // An end that was read is answered by one; else there is nothing to save.
    if (!receiver_.ended()) stream->Abort();
  }
  Fail(CmEvent::Type::kDisconnected, status, first);
}

void Qp::Fail(CmEvent::Type type, const absl::Status& status, WcStatus first,
              std::vector<uint8_t> private_data) {
  const bool leaving =
      phase_ == Phase::kDraining || phase_ == Phase::kHalfClosed;
  channel_->CancelTimer(this);
  Move(leaving ? Phase::kClosed : Phase::kError);
  sends_.Flush(first);
  recvs_.Flush();
  CmEvent event;
  event.type = type;
  event.qp = this;
  event.status = status;
  event.private_data = std::move(private_data);
  channel_->PushEvent(std::move(event));
}

}  // namespace rtrs::fabric::softiwarp
