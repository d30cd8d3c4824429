// The part of RnbdSession that follows the server: OPEN and CLOSE, their
// answers, and what a lost session does to mapped devices.
#include <errno.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gateway/geometry.h"
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
  const uint32_t generation = session_->generation();
  SendControl(
      session_.get(), generation, message, wire::OpenRsp::kSize,
      [this, mapping, generation](const ControlAnswer& answer) {
        const bool unsent = answer.local_error && answer.error == ECONNABORTED;
        OnOpenAnswer(mapping, {DecodeAnswer(answer), unsent, generation});
      });
}

void RnbdSession::OnOpenAnswer(const MappingPtr& mapping,
                               const OpenAnswer& answer) {
  bool close = false;
  {
    rtrs::MutexLock lock(&mu_);
    close = mapping->state == MappingState::kReopening
                ? TakeReopenAnswer(*mapping, answer)
                : TakeOpenAnswer(*mapping, answer);
  }
  if (close) SendClose(mapping, answer.rsp->device_id);
}

bool RnbdSession::TakeOpenAnswer(Mapping& mapping, const OpenAnswer& answer) {
  if (answer.unsent && !options_.fail_fast && mapping.waiters > 0) {
    mapping.unsent = true;  // Map waits on
    lost_ = true;
    changed_.SignalAll();
    return false;
  }
  if (!answer.rsp.ok()) {
    mapping.error = rtrs::Annotate(
        answer.rsp.status(), absl::StrCat("OPEN of ", Where(mapping), " ",
                                          wire::AccessModeName(mapping.mode)));
    Move(mapping, MappingState::kGone);
    return false;
  }
  mapping.rsp = *answer.rsp;
  if (mapping.waiters == 0) {
    RTRS_LOG(info, "{}: opened too late, closing it", Where(mapping));
    Move(mapping, MappingState::kClosing);
    return true;
  }
  mapping.link->SetOpen({mapping.rsp.device_id, answer.generation},
                        MaxIoSize(mapping, mapping.rsp));
  Move(mapping, MappingState::kOpen);
  return false;
}

uint32_t RnbdSession::MaxIoSize(const Mapping& mapping,
                                const wire::OpenRsp& rsp) const {
  DeviceInfo info;
  info.sessname = options_.sessname;
  info.device_path = mapping.name;
  return ApplyOpenRsp(rsp, session_->limits(), options_.write_zeroes, &info)
                 .ok()
             ? info.max_io_size
             : 0;
}

std::string RnbdSession::Difference(const Mapping& mapping,
                                    const wire::OpenRsp& rsp) const {
  const wire::OpenRsp& old = mapping.rsp;
  if (rsp.nsectors != old.nsectors) {
    return absl::StrCat("it has ", rsp.nsectors, " sectors, before ",
                        old.nsectors);
  }
  if (rsp.logical_block_size != old.logical_block_size) {
    return absl::StrCat("it has blocks of ", rsp.logical_block_size,
                        " bytes, before ", old.logical_block_size);
  }
  if (MaxIoSize(mapping, rsp) == 0) {
    return absl::StrCat("its blocks of ", rsp.logical_block_size,
                        " bytes do not fit the requests that the server "
                        "takes, ",
                        session_->limits().max_io_size, " bytes");
  }
  if ((old.cache_policy & ~rsp.cache_policy & wire::OpenRsp::kFua) != 0) {
    return "it has lost FUA";
  }
  const auto device = mapping.device.lock();
  if (device != nullptr && device->info().max_write_zeroes != 0 &&
      options_.write_zeroes == WriteZeroesChoice::kAuto &&
      !session_->limits().capabilities.Has(
          rtrs::wire::Capabilities::kWriteZeroes)) {
    return "the server cannot write zeroes any more";
  }
  return "";
}

bool RnbdSession::TakeReopenAnswer(Mapping& mapping, const OpenAnswer& answer) {
  const bool wanted = !mapping.device.expired();
  if (!answer.rsp.ok()) {
    if (!wanted) {
      Move(mapping, MappingState::kGone);
    } else if (answer.unsent) {
      Move(mapping, MappingState::kLost);  // the next connection tries again
      lost_ = true;
    } else {
      RTRS_LOG_EVERY(err, absl::Seconds(5), "{}: cannot be opened again: {}",
                     Where(mapping), answer.rsp.status());
      mapping.link->SetClosed(DeviceLink::Closed::kRefused,
                              std::string(answer.rsp.status().message()));
      Move(mapping, MappingState::kFailed);
    }
    return false;
  }
  if (!wanted) {
    Move(mapping, MappingState::kClosing);
    return true;
  }
  const wire::OpenRsp& rsp = *answer.rsp;
  if (std::string difference = Difference(mapping, rsp); !difference.empty()) {
    RTRS_LOG(err, "{}: after the reconnect {}: not used any more",
             Where(mapping), difference);
    mapping.link->SetClosed(DeviceLink::Closed::kChanged,
                            std::move(difference));
    Move(mapping, MappingState::kFailed);
    // Stays open there until it is unmapped.
    mapping.rsp.device_id = rsp.device_id;
    return false;
  }
  const bool cache_kept = session_->limits().capabilities.Has(
                              rtrs::wire::Capabilities::kWriteVerifier) &&
                          rsp.write_verifier != 0 &&
                          rsp.write_verifier == mapping.rsp.write_verifier;
  // What counts is the cache that the writes were answered from.
  if (!cache_kept &&
      (mapping.rsp.cache_policy & wire::OpenRsp::kWriteBack) != 0) {
    mapping.link->NoteServerLostCache();
  }
  mapping.rsp = rsp;
  mapping.link->SetOpen({rsp.device_id, answer.generation},
                        MaxIoSize(mapping, rsp));
  Move(mapping, MappingState::kOpen);
  RTRS_LOG(info, "{}: open again, id {}", Where(mapping), rsp.device_id);
  return false;
}

void RnbdSession::SendClose(const MappingPtr& mapping, uint32_t device_id) {
  {
    rtrs::MutexLock lock(&mu_);
    // The end of the session closes all its devices.
    if (stopping_) return;
  }
  const auto message = wire::Encode(wire::Close{device_id});
  SendControl(session_.get(), session_->generation(), message, 0,
              [this, mapping](const ControlAnswer& answer) {
                rtrs::MutexLock lock(&mu_);
                if (answer.error != 0) {
                  // Without a session the server closes it by itself.
                  RTRS_LOG(debug, "{}: CLOSE: error {}", Where(*mapping),
                           answer.error);
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
        mapping->link->SetClosed(
            DeviceLink::Closed::kDisconnected,
            absl::StrCat(" (", absl::string_view(why.message()), ")"));
        Move(*mapping, MappingState::kLost);
      }
    }
  }
  changed_.SignalAll();
}

bool RnbdSession::AnyRefused() const {
  for (const auto& [name, mapping] : mappings_) {
    if (mapping->state == MappingState::kFailed &&
        mapping->link->closed() == DeviceLink::Closed::kRefused) {
      return true;
    }
  }
  return false;
}

bool RnbdSession::WaitForRecovery(bool* lost) {
  rtrs::MutexLock lock(&mu_);
  absl::Time ask_again = absl::InfiniteFuture();
  while (!stopping_ && !(connected_ && lost_)) {
    const bool refused = connected_ && AnyRefused();
    if (!refused) {
      ask_again = absl::InfiniteFuture();
    } else if (ask_again == absl::InfiniteFuture()) {
      ask_again = absl::Now() + options_.reopen_interval;
    } else if (absl::Now() >= ask_again) {
      break;
    }
    changed_.WaitWithDeadline(&mu_, ask_again);
  }
  *lost = std::exchange(lost_, false);
  return !stopping_;
}

void RnbdSession::RecoveryThread() {
  for (bool lost = false; WaitForRecovery(&lost);) Reopen(lost);
}

void RnbdSession::Reopen(bool lost) {
  if (lost) {
    RTRS_LOG(info, "session {}: connected again", options_.sessname);
    if (absl::Status status = ExchangeSessInfo(); !status.ok()) {
      // Devices can be opened without it (wire.md §7.2).
      RTRS_LOG(warn, "{}", status);
    }
  }
  std::vector<MappingPtr> again;
  {
    rtrs::MutexLock lock(&mu_);
    for (auto& [name, mapping] : mappings_) {
      switch (mapping->state) {
        case MappingState::kOpening:
          if (std::exchange(mapping->unsent, false)) again.push_back(mapping);
          break;
        case MappingState::kLost:
          again.push_back(mapping);
          break;
        case MappingState::kFailed:
          if (lost || mapping->link->closed() == DeviceLink::Closed::kRefused) {
            again.push_back(mapping);
          }
          break;
        default:
          break;
      }
    }
    for (const MappingPtr& mapping : again) {
      if (mapping->state != MappingState::kOpening) {
        Move(*mapping, MappingState::kReopening);
      }
    }
  }
  for (const MappingPtr& mapping : again) SendOpen(mapping);
}

}  // namespace rnbd::gateway
