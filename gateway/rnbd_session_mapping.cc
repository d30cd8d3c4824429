// The part of RnbdSession that follows the server: OPEN and CLOSE, their
// answers, and what a lost session does to mapped devices.
#include <errno.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gateway/rnbd_session.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/mutex.h"
#include "rtrs/wire/capabilities.h"

namespace rnbd::gateway {
namespace {

using rtrs::client::SessionState;

// Advice for the errors of OPEN that have one reason (wire.md §7.3).
const char* OpenHint(int error) {
  switch (error) {
    case ENOENT:
      return "the server answered (no such device under its search path)";
    case EPERM:
      return "the server answered (another client has it open for writing)";
    case ENOTBLK:
      return "the server answered (not a block device)";
    case EROFS:
    case EACCES:
      return "the server answered (it may be read-only there: try "
             "access_mode=ro)";
    default:
      return "the server answered";
  }
}

absl::StatusOr<wire::OpenRsp> DecodeAnswer(const ControlAnswer& answer) {
  if (answer.error == 0) return wire::DecodeOpenRsp(answer.reply);
  return rtrs::ErrnoError(
      answer.error, answer.local_error ? "not done" : OpenHint(answer.error));
}

}  // namespace

const char* MappingStateName(MappingState state) {
  switch (state) {
    case MappingState::kOpening:
      return "opening";
    case MappingState::kOpen:
      return "open";
    case MappingState::kLost:
      return "lost";
    case MappingState::kReopening:
      return "reopening";
    case MappingState::kFailed:
      return "failed";
    case MappingState::kClosing:
      return "closing";
    case MappingState::kGone:
      return "gone";
  }
  return "?";
}

void RnbdSession::Move(Mapping& mapping, MappingState to) {
  RTRS_LOG(debug, "{}: {} -> {}", Where(mapping),
           MappingStateName(mapping.state), MappingStateName(to));
  mapping.state = to;
  if (to == MappingState::kGone) {
    const std::string name = mapping.name;  // the table may hold the last owner
    mappings_.erase(name);
  }
  changed_.SignalAll();
}

void RnbdSession::SendOpen(const MappingPtr& mapping) {
  const auto message = wire::Encode(wire::Open{mapping->mode, mapping->name});
  SendControl(session_.get(), message, wire::OpenRsp::kSize,
              [this, mapping](const ControlAnswer& answer) {
                OnOpenAnswer(mapping, answer);
              });
}

void RnbdSession::OnOpenAnswer(const MappingPtr& mapping,
                               const ControlAnswer& answer) {
  const absl::StatusOr<wire::OpenRsp> rsp = DecodeAnswer(answer);
  bool close = false;
  {
    rtrs::MutexLock lock(&mu_);
    close = mapping->state == MappingState::kReopening
                ? TakeReopenAnswer(*mapping, rsp, answer.local_error)
                : TakeOpenAnswer(*mapping, rsp);
  }
  if (close) SendClose(mapping, rsp->device_id);
}

bool RnbdSession::TakeOpenAnswer(Mapping& mapping,
                                 const absl::StatusOr<wire::OpenRsp>& answer) {
  if (!answer.ok()) {
    mapping.error = rtrs::Annotate(
        answer.status(), absl::StrCat("OPEN of ", Where(mapping), " ",
                                      wire::AccessModeName(mapping.mode)));
    Move(mapping, MappingState::kGone);
    return false;
  }
  mapping.rsp = *answer;
  if (mapping.waiters == 0) {
    RTRS_LOG(info, "{}: opened too late, closing it", Where(mapping));
    Move(mapping, MappingState::kClosing);
    return true;
  }
  mapping.link->SetOpen(answer->device_id);
  Move(mapping, MappingState::kOpen);
  return false;
}

bool RnbdSession::TakeReopenAnswer(Mapping& mapping,
                                   const absl::StatusOr<wire::OpenRsp>& answer,
                                   bool local_error) {
  const bool wanted = !mapping.device.expired();
  if (!answer.ok()) {
    if (!wanted) {
      Move(mapping, MappingState::kGone);
    } else if (local_error) {
      Move(mapping, MappingState::kLost);  // the next connection tries again
    } else {
      RTRS_LOG(err, "{}: cannot be opened again: {}", Where(mapping),
               answer.status());
      mapping.link->SetClosed(DeviceLink::Closed::kRefused);
      Move(mapping, MappingState::kFailed);
    }
    return false;
  }
  if (!wanted) {
    Move(mapping, MappingState::kClosing);
    return true;
  }
  if (answer->nsectors != mapping.rsp.nsectors ||
      answer->logical_block_size != mapping.rsp.logical_block_size) {
    RTRS_LOG(err,
             "{}: after the reconnect it has {} sectors and blocks of {}, "
             "before {} and {}: not used any more",
             Where(mapping), answer->nsectors, answer->logical_block_size,
             mapping.rsp.nsectors, mapping.rsp.logical_block_size);
    mapping.link->SetClosed(DeviceLink::Closed::kChanged);
    Move(mapping, MappingState::kFailed);
    // Stays open there until it is unmapped.
    mapping.rsp.device_id = answer->device_id;
    return false;
  }
  const bool cache_kept = session_->limits().capabilities.Has(
                              rtrs::wire::Capabilities::kWriteVerifier) &&
                          answer->write_verifier != 0 &&
                          answer->write_verifier == mapping.rsp.write_verifier;
  if (!cache_kept && (answer->cache_policy & wire::OpenRsp::kWriteBack) != 0) {
    mapping.link->NoteServerLostCache();
  }
  mapping.rsp = *answer;
  mapping.link->SetOpen(answer->device_id);
  Move(mapping, MappingState::kOpen);
  RTRS_LOG(info, "{}: open again, id {}", Where(mapping), answer->device_id);
  return false;
}

void RnbdSession::SendClose(const MappingPtr& mapping, uint32_t device_id) {
  {
    rtrs::MutexLock lock(&mu_);
    // The end of the session closes all its devices.
    if (stopping_) return;
  }
  const auto message = wire::Encode(wire::Close{device_id});
  SendControl(
      session_.get(), message, 0, [this, mapping](const ControlAnswer& answer) {
        rtrs::MutexLock lock(&mu_);
        if (answer.error != 0) {
          // Without a session the server closes it by itself.
          RTRS_LOG(debug, "{}: CLOSE: error {}", Where(*mapping), answer.error);
        }
        if (mapping->state == MappingState::kClosing) {
          Move(*mapping, MappingState::kGone);
        }
      });
}

void RnbdSession::OnSessionState(SessionState state, const absl::Status& why) {
  rtrs::MutexLock lock(&mu_);
  connected_ = state == SessionState::kConnected;
  if (state == SessionState::kDisconnected || state == SessionState::kClosed) {
    RTRS_LOG(warn, "session {}: no path left: {}", options_.sessname, why);
    lost_ = true;
    for (auto& [name, mapping] : mappings_) {
      if (mapping->state == MappingState::kOpen) {
        mapping->link->SetClosed(DeviceLink::Closed::kDisconnected);
        Move(*mapping, MappingState::kLost);
      }
    }
  }
  changed_.SignalAll();
}

void RnbdSession::RecoveryThread() {
  for (;;) {
    {
      rtrs::MutexLock lock(&mu_);
      while (!stopping_ && !(lost_ && connected_)) changed_.Wait(&mu_);
      if (stopping_) return;
      lost_ = false;
    }
    Reopen();
  }
}

void RnbdSession::Reopen() {
  RTRS_LOG(info, "session {}: connected again", options_.sessname);
  if (absl::Status status = ExchangeSessInfo(); !status.ok()) {
    // Devices can be opened without it (wire.md §7.2).
    RTRS_LOG(warn, "{}", status);
  }
  std::vector<MappingPtr> again;
  {
    rtrs::MutexLock lock(&mu_);
    for (auto& [name, mapping] : mappings_) {
      if (mapping->state == MappingState::kLost ||
          mapping->state == MappingState::kFailed) {
        again.push_back(mapping);
      }
    }
    for (const MappingPtr& mapping : again) {
      Move(*mapping, MappingState::kReopening);
    }
  }
  for (const MappingPtr& mapping : again) SendOpen(mapping);
}

}  // namespace rnbd::gateway
