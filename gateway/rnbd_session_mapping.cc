// The part of RnbdSession that follows the server: OPEN and CLOSE, their
// answers, and what a lost session does to mapped devices.
#include <errno.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gateway/geometry.h"
#include "gateway/rnbd_session.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/mutex.h"
#include "rtrs/base/status_macros.h"
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
    case MappingState::kRefreshing:
      return "refreshing";
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

void RnbdSession::OnOpenAnswer(const MappingPtr& mapping, OpenAnswer answer) {
  CloseId close_id;
  {
    rtrs::MutexLock lock(&mu_);
    // It may have come together with the loss of the session, which the server
    // forgot then: nobody would open the device again.
    answer.lost = !stopping_ && session_->generation() != answer.generation;
    if (answer.lost) {
      answer.rsp = rtrs::ErrnoError(ECONNABORTED, "the session was lost");
      answer.unsent = true;
    }
    switch (mapping->state) {
      case MappingState::kReopening:
        close_id = TakeReopenAnswer(*mapping, answer);
        break;
      case MappingState::kRefreshing:
        close_id = TakeRefreshAnswer(*mapping, answer);
        break;
      default:
        close_id = TakeOpenAnswer(*mapping, answer);
        break;
    }
  }
  if (close_id.has_value()) SendClose(mapping, *close_id);
}

RnbdSession::CloseId RnbdSession::TakeOpenAnswer(Mapping& mapping,
                                                 const OpenAnswer& answer) {
  if (answer.unsent && !options_.fail_fast && mapping.waiters > 0) {
    mapping.unsent = true;  // Map waits on
    lost_ = true;
    changed_.SignalAll();
    return std::nullopt;
  }
  if (!answer.rsp.ok()) {
    mapping.error = rtrs::Annotate(
        answer.rsp.status(), absl::StrCat("OPEN of ", Where(mapping), " ",
                                          wire::AccessModeName(mapping.mode)));
    Move(mapping, MappingState::kGone);
    return std::nullopt;
  }
  if (mapping.waiters == 0) {
    RTRS_LOG(info, "{}: opened too late, closing it", Where(mapping));
    Move(mapping, MappingState::kClosing);
    return answer.rsp->device_id;
  }
  SetOpen(mapping, *answer.rsp, answer.generation);
  return std::nullopt;
}

absl::StatusOr<DeviceInfo> RnbdSession::InfoOf(const Mapping& mapping,
                                               const wire::OpenRsp& rsp) const {
  DeviceInfo info;
  info.sessname = options_.sessname;
  info.device_path = mapping.name;
  info.access_mode = mapping.mode;
  RTRS_RETURN_IF_ERROR(
      ApplyOpenRsp(rsp, session_->limits(), options_.write_zeroes, &info));
  return info;
}

void RnbdSession::SetOpen(Mapping& mapping, const wire::OpenRsp& rsp,
                          uint32_t generation) {
  // An answer that nobody can use is closed by who creates the device.
  const DeviceInfo info = InfoOf(mapping, rsp).value_or(DeviceInfo());
  const uint64_t before = mapping.link->size();
  mapping.rsp = rsp;
  mapping.link->SetOpen({rsp.device_id, generation}, info.max_io_size,
                        info.size);
  Move(mapping, MappingState::kOpen);
  if (!mapping.created || info.size == before) return;
  // A server that plays with sizes must not fill the log.
  if (!rtrs::LogDue(mapping.resize_logged, absl::Milliseconds(100))) return;
  RTRS_LOG(warn,
           "{}: has {} bytes now, before {}: NBD clients see it when they "
           "connect again",
           Where(mapping), info.size, before);
}

std::string RnbdSession::Difference(const Mapping& mapping,
                                    const wire::OpenRsp& rsp, bool same) const {
  const wire::OpenRsp& old = mapping.rsp;
  // A device that has grown may be the same; one that lacks what its users rely
  // on is as good as another.
  if (rsp.nsectors < old.nsectors && !same) {
    return absl::StrCat("it has ", rsp.nsectors, " sectors, before ",
                        old.nsectors);
  }
  if (rsp.logical_block_size != old.logical_block_size) {
    return absl::StrCat("it has blocks of ", rsp.logical_block_size,
                        " bytes, before ", old.logical_block_size);
  }
  const absl::StatusOr<DeviceInfo> info = InfoOf(mapping, rsp);
  if (!info.ok()) return std::string(info.status().message());
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

void RnbdSession::GiveUp(Mapping& mapping, const wire::OpenRsp& rsp,
                         std::string why) {
  RTRS_LOG(err, "{}: {}: not used any more", Where(mapping), why);
  mapping.link->SetClosed(DeviceLink::Closed::kChanged, std::move(why));
  // Stays open there until it is unmapped.
  mapping.rsp.device_id = rsp.device_id;
  Move(mapping, MappingState::kFailed);
}

RnbdSession::CloseId RnbdSession::TakeReopenAnswer(Mapping& mapping,
                                                   const OpenAnswer& answer) {
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
    return std::nullopt;
  }
  const wire::OpenRsp& rsp = *answer.rsp;
  if (!wanted) {
    Move(mapping, MappingState::kClosing);
    return rsp.device_id;
  }
  // The verifier knows the file or disk, and whether its cache was kept.
  const bool same = session_->limits().capabilities.Has(
                        rtrs::wire::Capabilities::kWriteVerifier) &&
                    rsp.write_verifier != 0 &&
                    rsp.write_verifier == mapping.rsp.write_verifier;
  if (std::string difference = Difference(mapping, rsp, same);
      !difference.empty()) {
    GiveUp(mapping, rsp, absl::StrCat("after the reconnect ", difference));
    return std::nullopt;
  }
  // What counts is the cache that the writes were answered from.
  if (!same && (mapping.rsp.cache_policy & wire::OpenRsp::kWriteBack) != 0) {
    mapping.link->NoteServerLostCache();
  }
  SetOpen(mapping, rsp, answer.generation);
  RTRS_LOG(info, "{}: open again, id {}", Where(mapping), rsp.device_id);
  return std::nullopt;
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
      const bool open = mapping->state == MappingState::kOpen;
      if (!open && mapping->state != MappingState::kRefreshing) continue;
      mapping->link->SetClosed(
          DeviceLink::Closed::kDisconnected,
          absl::StrCat(" (", absl::string_view(why.message()), ")"));
      if (open) Move(*mapping, MappingState::kLost);  // else with its answer
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

bool RnbdSession::WaitForWork(Work* work) {
  rtrs::MutexLock lock(&mu_);
  work->refused = false;
  while (!stopping_ && !(connected_ && (lost_ || stale_))) {
    if (!connected_ || !AnyRefused()) {
      work->refused_at = absl::InfiniteFuture();
    } else if (work->refused_at == absl::InfiniteFuture()) {
      work->refused_at = absl::Now() + options_.reopen_interval;
    } else if (absl::Now() >= work->refused_at) {
      work->refused = true;
      work->refused_at = absl::InfiniteFuture();
      break;
    }
    changed_.WaitWithDeadline(&mu_, work->refused_at);
  }
  work->lost = std::exchange(lost_, false);
  work->stale = std::exchange(stale_, false);
  return !stopping_;
}

void RnbdSession::RecoveryThread() {
  for (Work work; WaitForWork(&work);) {
    if (work.lost || work.refused) Reopen(work.lost);
    if (work.stale) Refresh();
  }
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
