// The set-up of a connection: MPA Request and Reply. spec/iwarp.md §1.
#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/fabric/softiwarp/connect_request.h"
#include "rtrs/fabric/softiwarp/device_limits.h"
#include "rtrs/fabric/softiwarp/queue_pair.h"

namespace rtrs::fabric::softiwarp {
namespace {

absl::Status CheckPrivateData(absl::Span<const uint8_t> data) {
  if (data.size() <= kMpaMaxUserData) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("private data of ", data.size(), " bytes: at most ",
                   kMpaMaxUserData, " fit"));
}

}  // namespace

absl::Status Qp::Connect(const PathSpec& path,
                         absl::Span<const uint8_t> private_data,
                         absl::Duration timeout) {
  if (phase_ != Phase::kIdle) {
    return absl::FailedPreconditionError(
        absl::StrCat("connect on a queue pair that is ", PhaseName(phase_)));
  }
  RTRS_RETURN_IF_ERROR(CheckPrivateData(private_data));
  if (path.destination.kind != PathEnd::Kind::kIp ||
      path.source.kind == PathEnd::Kind::kGid) {
    return absl::InvalidArgumentError(absl::StrCat(
        "path ", path.ToString(), ": softiwarp needs IP addresses"));
  }
  request_data_.assign(private_data.begin(), private_data.end());
  peer_ = path.destination.ip;
  local_ = path.source.ip;
  Move(Phase::kConnecting);
  auto stream = channel_->core()->transport->Connect(local_, peer_);
  absl::Status status = stream.status();
  if (status.ok()) {
    stream_ = *std::move(stream);
    status = StartStream(kWritable);
  }
  if (status.ok()) {
    channel_->SetTimer(this, timeout);
  } else {
    FailConnect(status);
  }
  return absl::OkStatus();
}

absl::Status Qp::StartStream(uint32_t interest) {
  RTRS_RETURN_IF_ERROR(channel_->Watch(stream_.get(), interest, this));
  watched_ = interest;
  return absl::OkStatus();
}

void Qp::OnConnected() {
  const int result = stream_->ConnectResult();
  if (result == -EINPROGRESS) return;
  if (result != 0) {
    FailConnect(
        ErrnoError(-result, absl::StrCat("connect to ", peer_.ToString())));
    return;
  }
  local_ = stream_->local_address();
  wants_crc_ = channel_->core()->WantsCrc(*stream_);
  MpaFrame request;
  request.crc = wants_crc_;
  MpaEnhanced& enhanced = request.enhanced.emplace();
  enhanced.peer_to_peer = true;
  enhanced.rtr_write = true;
  request.capabilities.emplace();
  request.user_data = std::move(request_data_);
  transmitter_.QueueBytes(EncodeMpaFrame(request));
  Move(Phase::kAwaitReply);
  UpdateInterest();
  SendSetup();
}

void Qp::SendSetup() {
  switch (transmitter_.SendQueued(stream_.get())) {
    case Transmitter::Outcome::kIdle:
      return;
    case Transmitter::Outcome::kBlocked:
      SetBlocked(true);
      return;
    case Transmitter::Outcome::kError:
      break;
  }
  const absl::Status status = ErrnoError(
      transmitter_.error(), absl::StrCat("set-up with ", peer_.ToString()));
  if (phase_ == Phase::kAwaitReply) {
    FailConnect(status);
  } else {
    Lose(status, WcStatus::kFlushed);
  }
}

void Qp::OnReply() {
  switch (receiver_.FillBuffer(stream_.get())) {
    case Receiver::Outcome::kProgress:
      break;
    case Receiver::Outcome::kIdle:
      return;
    case Receiver::Outcome::kEnd:
      FailConnect(ErrnoError(
          ECONNREFUSED,
          absl::StrCat(peer_.ToString(), " closed the connection in set-up")));
      return;
    default:
      FailConnect(ErrnoError(receiver_.error(),
                             absl::StrCat("set-up with ", peer_.ToString())));
      return;
  }
  MpaFrame reply;
  const MpaParse parse =
      ParseMpaFrame(receiver_.buffered(), /*reply=*/true, &reply);
  switch (parse.result) {
    case MpaParse::Result::kIncomplete:
      return;
    case MpaParse::Result::kMalformed:
    case MpaParse::Result::kRefused:
      FailConnect(ErrnoError(
          EPROTO, absl::StrCat(peer_.ToString(), ": ", parse.problem)));
      return;
    case MpaParse::Result::kDone:
      receiver_.Consume(parse.consumed);
      OnReplyFrame(reply);
      return;
  }
}

void Qp::OnReplyFrame(const MpaFrame& reply) {
  if (reply.rejected) {
    DetachStream().reset();
    Fail(CmEvent::Type::kRejected,
         ErrnoError(ECONNREFUSED,
                    absl::StrCat(peer_.ToString(), " rejected the connection")),
         WcStatus::kFlushed, reply.user_data);
    return;
  }
  if (reply.markers || !reply.enhanced) {
    FailConnect(ErrnoError(
        EPROTO, absl::StrCat(peer_.ToString(),
                             reply.markers ? " requires markers"
                                           : " answered the enhanced MPA "
                                             "Request with a plain Reply")));
    return;
  }
  Configure(reply, wants_crc_ || reply.crc);
  if (!reply.enhanced->rtr_write) {
    std::unique_ptr<ByteStream> stream = DetachStream();
    channel_->Linger(std::move(stream),
                     TerminateFpdu(kMpaNoMatchingRtr, {}, crc_));
    Fail(CmEvent::Type::kConnectError,
         ErrnoError(EPROTO,
                    absl::StrCat(peer_.ToString(),
                                 " takes no zero-length RDMA Write as RTR")),
         WcStatus::kFlushed);
    return;
  }
  channel_->CancelTimer(this);
  Move(Phase::kOperational);
  RaiseEstablished(reply.user_data);
  transmitter_.QueueRtr();
  TrySend();
  // What came right behind the Reply.
  if (stream_ != nullptr) HandleInbound(receiver_.Process());
}

void Qp::Configure(const MpaFrame& theirs, bool crc) {
  crc_ = crc;
  receiver_.set_crc(crc);
  transmitter_.set_crc(crc);
  const MpaCapabilities plain{.bits = 0, .max_ulpdu = kMaxUlpdu};
  const MpaCapabilities& caps = theirs.capabilities.value_or(plain);
  send_with_immediate_ = (caps.bits & MpaCapabilities::kSendImmediate) != 0;
  inbound_.set_paired_immediates(theirs.capabilities.has_value());
  strict_ = (caps.bits & MpaCapabilities::kLargeFpdus) == 0;
  peer_max_ulpdu_ = caps.max_ulpdu;
  if (strict_) {
    RefreshMaxUlpdu();
  } else {
    transmitter_.set_max_ulpdu(peer_max_ulpdu_);
  }
  RTRS_LOG(debug, "softiwarp: {} to {}: crc {}, {}", local_.ToString(),
           peer_.ToString(), crc ? "on" : "off",
           theirs.capabilities ? "softiwarp at both ends" : "plain iWARP peer");
}

absl::Status Qp::Accept(std::unique_ptr<ConnectRequest> request,
                        absl::Span<const uint8_t> private_data) {
  if (phase_ != Phase::kIdle) {
    return absl::FailedPreconditionError(
        absl::StrCat("accept on a queue pair that is ", PhaseName(phase_)));
  }
  RTRS_RETURN_IF_ERROR(CheckPrivateData(private_data));
  auto* ours = static_cast<IwarpConnectRequest*>(request.get());
  local_ = ours->local_address();
  peer_ = ours->peer_address();
  stream_ = ours->TakeStream();
  wants_crc_ = channel_->core()->WantsCrc(*stream_);

  // The initiator must be silent until it has the Reply.
  uint8_t early;
  const iovec part = {&early, 1};
  const ssize_t n = stream_->Read({&part, 1});
  if (n != -EAGAIN) {
    Lose(n < 0 ? ErrnoError(static_cast<int>(-n), "accept")
               : ErrnoError(n == 0 ? ECONNRESET : EPROTO,
                            absl::StrCat(peer_.ToString(),
                                         n == 0 ? " gave up"
                                                : " sent before the Reply")),
         WcStatus::kFlushed);
    return absl::OkStatus();
  }
  const MpaFrame& theirs = ours->frame();
  Configure(theirs, wants_crc_ || theirs.crc);
  fenced_ = true;
  transmitter_.QueueBytes(EncodeMpaFrame(
      ReplyTo(theirs, wants_crc_, /*rejected=*/false, private_data)));
  if (const absl::Status started = StartStream(kReadable); !started.ok()) {
    Lose(started, WcStatus::kFlushed);
    return absl::OkStatus();
  }
  const bool peer_to_peer = theirs.enhanced && theirs.enhanced->peer_to_peer;
  if (peer_to_peer) {
    Move(Phase::kAwaitFirstFpdu);
    channel_->SetTimer(this, kFirstFpduTimeout);
  } else {
    Move(Phase::kOperational);
    RaiseEstablished({});
  }
  SendSetup();
  return absl::OkStatus();
}

void Qp::OnFirstFpdu() {
  fenced_ = false;
  if (phase_ == Phase::kAwaitFirstFpdu) {
    if (!stalled_) channel_->CancelTimer(this);
    Move(Phase::kOperational);
    RaiseEstablished({});
  }
  if (transmitter_.has_work()) TrySend();
}

void Qp::RaiseEstablished(std::vector<uint8_t> private_data) {
  CmEvent event;
  event.type = CmEvent::Type::kEstablished;
  event.qp = this;
  event.private_data = std::move(private_data);
  channel_->PushEvent(std::move(event));
}

void Qp::FailConnect(const absl::Status& status) {
  if (stream_ != nullptr) DetachStream()->Abort();
  Fail(CmEvent::Type::kConnectError, status, WcStatus::kFlushed);
}

}  // namespace rtrs::fabric::softiwarp
