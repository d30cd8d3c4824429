#include "rtrs/fabric/softiwarp/queue_pair.h"

#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/protection_domain.h"
#include "rtrs/fabric/softiwarp/device_limits.h"

namespace rtrs::fabric::softiwarp {
namespace {

constexpr absl::Duration kLogInterval = absl::Seconds(5);
// Strict peers: the segment size of TCP moves, so it is asked for again.
constexpr uint32_t kStrictRefresh = 64;

uint32_t PdIdOf(ProtectionDomain* pd) { return static_cast<Pd*>(pd)->id(); }

std::string Hex(absl::Span<const uint8_t> bytes) {
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

WcStatus WcStatusOfLink(int error) {
  return error == ETIMEDOUT ? WcStatus::kRetryExceeded : WcStatus::kFlushed;
}

}  // namespace

Qp::Qp(Channel* channel, const QueuePairInit& init)
    : channel_(channel),
      pd_(PdIdOf(init.pd)),
      cq_(static_cast<Cq*>(init.cq)),
      sends_(&channel->core()->stags, pd_, cq_, this, init.max_send_wr,
             init.max_send_sge, init.max_inline),
      recvs_(&channel->core()->stags, pd_, cq_, this, init.max_recv_wr),
      inbound_(&channel->core()->stags, pd_, &recvs_),
      receiver_(&inbound_),
      transmitter_(&sends_) {
  context_ = init.context;
}

const char* Qp::PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kIdle:
      return "idle";
    case Phase::kConnecting:
      return "connecting";
    case Phase::kAwaitReply:
      return "awaiting the MPA Reply";
    case Phase::kAwaitFirstFpdu:
      return "awaiting the first FPDU";
    case Phase::kOperational:
      return "operational";
    case Phase::kDraining:
      return "draining";
    case Phase::kHalfClosed:
      return "half closed";
    case Phase::kError:
      return "error";
    case Phase::kClosed:
      return "closed";
  }
  return "?";
}

void Qp::Move(Phase to) {
  if (phase_ == to) return;
  RTRS_LOG(debug, "softiwarp: queue pair {} to {}: {} -> {}", local_.ToString(),
           peer_.ToString(), PhaseName(phase_), PhaseName(to));
  const auto rare = [](Phase p) {
    return p == Phase::kConnecting || p == Phase::kAwaitReply ||
           p == Phase::kDraining || p == Phase::kHalfClosed;
  };
  const auto read = [](Phase p) {
    return p == Phase::kAwaitFirstFpdu || p == Phase::kOperational;
  };
  if (rare(to) && !rare(phase_)) channel_->AddRare();
  if (!rare(to) && rare(phase_)) channel_->RemoveRare();
  if (read(to) && !read(phase_)) channel_->AddReading(this);
  if (!read(to) && read(phase_)) channel_->RemoveReading(this);
  phase_ = to;
}

QueuePair::State Qp::state() const {
  switch (phase_) {
    case Phase::kIdle:
      return State::kIdle;
    case Phase::kConnecting:
    case Phase::kAwaitReply:
    case Phase::kAwaitFirstFpdu:
      return State::kConnecting;
    case Phase::kOperational:
      return State::kEstablished;
    case Phase::kDraining:
    case Phase::kHalfClosed:
    case Phase::kError:
      return State::kError;
    case Phase::kClosed:
      return State::kClosed;
  }
  return State::kError;
}

absl::Status Qp::PostSend(absl::Span<const SendWr> list, Doorbell doorbell) {
  const State now = state();
  if (now == State::kIdle || now == State::kConnecting) {
    return absl::FailedPreconditionError(
        absl::StrCat("send on a queue pair that is ", PhaseName(phase_)));
  }
  if (!send_with_immediate_ && phase_ == Phase::kOperational) {
    for (const SendWr& wr : list) {
      if (wr.opcode == WrOpcode::kSendWithImm) {
        return ErrnoError(EOPNOTSUPP, absl::StrCat("send with immediate to ",
                                                   peer_.ToString(),
                                                   ", which is not softiwarp"));
      }
    }
  }
  RTRS_RETURN_IF_ERROR(sends_.Post(list));
  if (phase_ == Phase::kOperational) {
    if (doorbell == Doorbell::kNow) {
      TrySend();
    } else if (!dirty_) {
      dirty_ = true;
      channel_->AddDirty(this);
    }
  } else if (phase_ != Phase::kDraining) {
    sends_.Flush(WcStatus::kFlushed);
  }
  return absl::OkStatus();
}

absl::Status Qp::PostRecv(absl::Span<const RecvWr> list) {
  RTRS_RETURN_IF_ERROR(recvs_.Post(list));
  if (state() == State::kError || state() == State::kClosed) {
    recvs_.Flush();
  } else if (stalled_ && !resumable_) {
    resumable_ = true;
    channel_->AddResumable(this);
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> Qp::BindWindow(const BindWr& wr) {
  auto* const window = static_cast<Window*>(wr.window);
  RTRS_RETURN_IF_ERROR(window->CheckBind(wr, pd_));
  // Only its slot and its completion go through the send queue, as a write of
  // nothing, which sends nothing: the table changes at once.
  SendWr request;
  request.wr_id = wr.wr_id;
  request.opcode = WrOpcode::kRdmaWrite;
  request.flags = wr.flags;
  RTRS_RETURN_IF_ERROR(PostSend({&request, 1}, Doorbell::kDeferred));
  return window->Bind(wr.address, wr.length, pd_);
}

void Qp::FlushSends() {
  dirty_ = false;
  if (phase_ == Phase::kOperational) TrySend();
}

void Qp::RefreshMaxUlpdu() {
  // RFC 5044: MULPDU = EMSS - (6 + EMSS mod 4).
  const uint32_t emss = std::max(stream_->max_segment(), 2 * kMinUlpdu);
  transmitter_.set_max_ulpdu(std::clamp(emss - (6 + emss % 4), kMinUlpdu,
                                        std::min(peer_max_ulpdu_, kMaxUlpdu)));
}

void Qp::TrySend() {
  if (fenced_ || blocked_) return;
  if (strict_ && ++strict_sends_ % kStrictRefresh == 0) RefreshMaxUlpdu();
  switch (transmitter_.Send(stream_.get())) {
    case Transmitter::Outcome::kIdle:
      return;
    case Transmitter::Outcome::kBlocked:
      SetBlocked(true);
      return;
    case Transmitter::Outcome::kError:
      break;
  }
  const int error = transmitter_.error();
  if (error == ENOBUFS) {
    Lose(ErrnoError(error, "completion queue overflow"), WcStatus::kFatal);
    return;
  }
  // The peer may have said why before it closed.
  if (reading() && !stalled_) HandleInbound(receiver_.Pull(stream_.get()));
  if (stream_ != nullptr) {
    Lose(ErrnoError(error, absl::StrCat("sending to ", peer_.ToString())),
         WcStatusOfLink(error));
  }
}

void Qp::SetBlocked(bool blocked) {
  if (blocked_ == blocked) return;
  blocked_ = blocked;
  if (blocked) {
    channel_->AddBlocked();
  } else {
    channel_->RemoveBlocked();
  }
  UpdateInterest();
}

void Qp::UpdateInterest() {
  WatchFor((stalled_ ? 0 : uint32_t{kReadable}) |
           (blocked_ ? uint32_t{kWritable} : 0));
}

void Qp::WatchFor(uint32_t interest) {
  if (stream_ == nullptr || watched_ == interest) return;
  // Errors wake even who is interested in nothing, so that one is taken out.
  if (interest == 0) {
    channel_->Unwatch(stream_.get());
  } else if (watched_ != 0) {
    channel_->Rewatch(stream_.get(), interest, this);
  } else if (const absl::Status added =
                 channel_->Watch(stream_.get(), interest, this);
             !added.ok()) {
    RTRS_LOG(err, "softiwarp: {}", added);
  }
  watched_ = interest;
}

bool Qp::Read() {
  if (stalled_) return false;
  return HandleInbound(receiver_.Pull(stream_.get()));
}

void Qp::Resume() {
  resumable_ = false;
  if (!stalled_) return;
  stalled_ = false;
  channel_->CancelTimer(this);
  if (HandleInbound(receiver_.Process()) || !stalled_) UpdateInterest();
}

bool Qp::HandleInbound(Receiver::Outcome outcome) {
  if (phase_ == Phase::kAwaitFirstFpdu || fenced_) {
    if (receiver_.fpdus() > 0) OnFirstFpdu();
    // Its first answer may already have met a dead connection.
    if (stream_ == nullptr) return true;
  }
  switch (outcome) {
    case Receiver::Outcome::kIdle:
      return false;
    case Receiver::Outcome::kProgress:
      return true;
    case Receiver::Outcome::kStalled:
      Stall();
      return true;
    case Receiver::Outcome::kRefused:
      Refuse(receiver_.refusal(), receiver_.offender());
      return true;
    case Receiver::Outcome::kTerminated: {
      const Terminate& terminate = inbound_.terminate();
      const std::string name = TerminateName(terminate.code);
      RTRS_LOG(warn, "softiwarp: {} terminated the connection: {} [{}]",
               peer_.ToString(), name, Hex(terminate.offender));
      Lose(
          ErrnoError(EREMOTEIO, absl::StrCat(peer_.ToString(), " said ", name)),
          WcStatusOf(terminate.code));
      return true;
    }
    case Receiver::Outcome::kEnd:
      if (receiver_.at_boundary()) {
        Lose(ErrnoError(ECONNRESET,
                        absl::StrCat(peer_.ToString(), " disconnected")),
             WcStatus::kFlushed);
      } else {
        Lose(ErrnoError(EPIPE, absl::StrCat(peer_.ToString(),
                                            " ended inside a message")),
             WcStatus::kFlushed);
      }
      return true;
    case Receiver::Outcome::kError:
      Lose(ErrnoError(receiver_.error(),
                      absl::StrCat("receiving from ", peer_.ToString())),
           WcStatusOfLink(receiver_.error()));
      return true;
  }
  return true;
}

void Qp::Stall() {
  RTRS_LOG_EVERY(warn, kLogInterval,
                 "softiwarp: no receive posted for a message from {}; waiting",
                 peer_.ToString());
  stalled_ = true;
  channel_->SetTimer(this, kNoReceiveTimeout);
  UpdateInterest();
}

void Qp::Refuse(const Refusal& refusal, absl::Span<const uint8_t> offender) {
  const std::string name = TerminateName(refusal.code);
  RTRS_LOG(warn, "softiwarp: terminating the connection to {}: {} [{}]",
           peer_.ToString(), name, Hex(offender));
  std::vector<uint8_t> last_words = transmitter_.TakeInterrupted();
  const std::vector<uint8_t> fpdu = TerminateFpdu(refusal.code, offender, crc_);
  last_words.insert(last_words.end(), fpdu.begin(), fpdu.end());
  channel_->Linger(DetachStream(), std::move(last_words));
  Fail(CmEvent::Type::kDisconnected,
       ErrnoError(EPROTO, absl::StrCat("refused what ", peer_.ToString(),
                                       " sent: ", name)),
       WcStatus::kFlushed);
}

void Qp::OnReady(uint32_t interest) {
  switch (phase_) {
    case Phase::kConnecting:
      OnConnected();
      return;
    case Phase::kAwaitReply:
      if ((interest & kWritable) != 0 && blocked_) {
        SetBlocked(false);
        SendSetup();
      }
      if ((interest & kReadable) != 0 && phase_ == Phase::kAwaitReply) {
        OnReply();
      }
      return;
    case Phase::kAwaitFirstFpdu:
    case Phase::kOperational:
      if ((interest & kReadable) != 0) Read();
      if ((interest & kWritable) != 0 && reading() && blocked_) {
        SetBlocked(false);
        // The fence holds back work requests, not the rest of the Reply.
        if (fenced_) {
          SendSetup();
        } else {
          TrySend();
        }
      }
      return;
    case Phase::kDraining:
      if ((interest & kWritable) != 0 && blocked_) {
        SetBlocked(false);
        TrySend();
        EndDraining();
      }
      if ((interest & kReadable) != 0 && stream_ != nullptr) OnClosingInput();
      return;
    case Phase::kHalfClosed:
      if ((interest & kReadable) != 0) OnClosingInput();
      return;
    case Phase::kIdle:
    case Phase::kError:
    case Phase::kClosed:
      return;
  }
}

void Qp::OnTimer() {
  switch (phase_) {
    case Phase::kConnecting:
    case Phase::kAwaitReply:
      FailConnect(
          ErrnoError(ETIMEDOUT, absl::StrCat("connect to ", peer_.ToString(),
                                             " while ", PhaseName(phase_))));
      return;
    case Phase::kAwaitFirstFpdu:
    case Phase::kOperational:
      if (stalled_) {
        Refuse({kUntaggedNoBuffer, true}, receiver_.header_bytes());
      } else {
        Lose(ErrnoError(ETIMEDOUT,
                        absl::StrCat("no first FPDU from ", peer_.ToString())),
             WcStatus::kFlushed);
      }
      return;
    case Phase::kDraining:
      Lose(ErrnoError(ETIMEDOUT,
                      absl::StrCat("sends to ", peer_.ToString(),
                                   " did not leave before the disconnect")),
           WcStatus::kFlushed);
      return;
    case Phase::kHalfClosed:
      DetachStream().reset();
      Fail(CmEvent::Type::kDisconnected,
           ErrnoError(ESHUTDOWN, "disconnected; the peer did not follow"),
           WcStatus::kFlushed);
      return;
    case Phase::kIdle:
    case Phase::kError:
    case Phase::kClosed:
      return;
  }
}

}  // namespace rtrs::fabric::softiwarp
