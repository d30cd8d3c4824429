#include "gateway/rnbd_session.h"

#include <errno.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gateway/geometry.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/mutex.h"
#include "rtrs/base/status_macros.h"

namespace rnbd::gateway {
namespace {

using rtrs::client::BlockingSession;
using rtrs::client::SessionState;

// How long the last owner of a device waits for the answer to CLOSE; the
// server may have I/O to finish first.
constexpr absl::Duration kCloseTimeout = absl::Seconds(10);
// How often a wait for an answer is logged.
constexpr absl::Duration kWaitLog = absl::Seconds(5);
// How often it looks whether to give up.
constexpr absl::Duration kLook = absl::Milliseconds(200);

// Connects, again while the server seems to hold the name of a client that is
// gone (wire.md trap 8).
absl::StatusOr<std::unique_ptr<BlockingSession>> Connect(
    const GatewayOptions& options, const SessionFactory& factory) {
  const absl::Time start = absl::Now();
  for (;;) {
    auto session = factory();
    if (session.ok() || rtrs::ErrnoOf(session.status()) != EPERM) {
      return session;
    }
    const std::string what =
        absl::StrCat("sessname=", options.sessname,
                     ": the server refused the name, it may still be in use");
    const absl::Duration waited = absl::Now() - start;
    if (waited >= options.name_in_use_timeout) {
      const std::string tried =
          absl::FormatDuration(absl::Trunc(waited, absl::Seconds(1)));
      return rtrs::ErrnoError(
          EPERM, absl::StrCat(what, " by another client (tried for ", tried,
                              "; choose another sessname, or end that "
                              "client)"));
    }
    // Why in detail is in the log of the session below.
    RTRS_LOG_EVERY(warn, absl::Seconds(10), "{}; trying again for up to {}",
                   what, options.name_in_use_timeout);
    const absl::Duration pause = std::min(options.name_in_use_interval,
                                          options.name_in_use_timeout - waited);
    if (options.pause == nullptr) {
      absl::SleepFor(pause);
    } else if (!options.pause(pause)) {
      return rtrs::Annotate(session.status(), what);
    }
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<RnbdSession>> RnbdSession::Open(
    GatewayOptions options, std::unique_ptr<rtrs::fabric::Fabric> fabric,
    const SessionFactory& factory) {
  RTRS_ASSIGN_OR_RETURN(auto session, Connect(options, factory));
  std::shared_ptr<RnbdSession> rnbd(new RnbdSession(
      std::move(options), std::move(fabric), std::move(session)));
  RTRS_RETURN_IF_ERROR(rnbd->ExchangeSessInfo());
  return rnbd;
}

RnbdSession::RnbdSession(GatewayOptions options,
                         std::unique_ptr<rtrs::fabric::Fabric> fabric,
                         std::unique_ptr<BlockingSession> session)
    : options_(std::move(options)),
      fabric_(std::move(fabric)),
      session_(std::move(session)) {
  session_->SetStateCallback(
      [this](SessionState state, const absl::Status& why) {
        OnSessionState(state, why);
      });
  session_->SetNoticeCallback(
      [this](uint32_t device_id) { OnNotice(device_id); });
  recovery_ = std::thread(&RnbdSession::RecoveryThread, this);
}

RnbdSession::~RnbdSession() {
  {
    rtrs::MutexLock lock(&mu_);
    stopping_ = true;
    changed_.SignalAll();
  }
  recovery_.join();
  session_->SetStateCallback(nullptr);
  session_->SetNoticeCallback(nullptr);
  // Answers that nobody waits for any more arrive here at the latest.
  session_.reset();
}

absl::Status RnbdSession::ExchangeSessInfo() {
  struct Reply {
    rtrs::Notification done;
    absl::Status status;
    uint8_t version = 0;
  };
  const auto reply = std::make_shared<Reply>();
  const auto sent = wire::EncodeSessInfo(wire::SessInfo{});
  SendControl(session_.get(), session_->generation(), sent,
              wire::SessInfo::kSize, [reply](const ControlAnswer& answer) {
                if (answer.error != 0) {
                  reply->status = rtrs::ErrnoError(
                      answer.error,
                      answer.local_error ? "not sent" : "refused");
                } else {
                  auto info = wire::DecodeSessInfoRsp(answer.reply);
                  reply->status = info.status();
                  if (info.ok()) reply->version = info->version;
                }
                reply->done.Notify();
              });
  const absl::Time start = absl::Now();
  const absl::Time deadline = ControlDeadline();
  const std::string what =
      absl::StrCat("session ", options_.sessname, ": SESS_INFO");
  while (!reply->done.WaitForNotificationWithDeadline(
      std::min(deadline, absl::Now() + kWaitLog))) {
    if (absl::Now() >= deadline) {
      return rtrs::ErrnoError(
          ETIMEDOUT, absl::StrCat(what, ": no answer within io_timeout=",
                                  absl::FormatDuration(options_.io_timeout)));
    }
    RTRS_LOG(warn, "{}: no answer since {}", what, absl::Now() - start);
  }
  if (!reply->status.ok()) return rtrs::Annotate(reply->status, what);
  RTRS_LOG(debug, "{}: protocol version {}", what, reply->version);
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<BlockDevice>> RnbdSession::Map(
    absl::string_view device_path, wire::AccessMode mode) {
  RTRS_RETURN_IF_ERROR(CheckDevicePath(device_path));
  const std::string name(device_path);
  const absl::Time deadline = ControlDeadline();
  for (;;) {
    RTRS_ASSIGN_OR_RETURN(const Found found, FindOrMake(name, mode));
    if (found.fresh) SendOpen(found.mapping);
    RTRS_ASSIGN_OR_RETURN(std::shared_ptr<BlockDevice> device,
                          Join(found, mode, deadline));
    if (device != nullptr) return device;
  }
}

absl::StatusOr<RnbdSession::Found> RnbdSession::FindOrMake(
    const std::string& name, wire::AccessMode mode) {
  rtrs::MutexLock lock(&mu_);
  Found found;
  MappingPtr& slot = mappings_[name];
  if (slot == nullptr) {
    slot = std::make_shared<Mapping>();
    slot->name = name;
    slot->mode = mode;
    found.fresh = true;
  }
  found.mapping = slot;
  if (slot->state == MappingState::kOpening) {
    if (slot->mode == mode) {
      ++slot->waiters;
      found.counted = true;
    } else if (slot->waiters > 0) {
      return InOtherMode(*slot, mode);
    }
  }
  return found;
}

absl::StatusOr<std::shared_ptr<BlockDevice>> RnbdSession::Join(
    const Found& found, wire::AccessMode mode, absl::Time deadline) {
  const MappingPtr& mapping = found.mapping;
  std::optional<uint32_t> close_id;
  absl::StatusOr<std::shared_ptr<BlockDevice>> result =
      std::shared_ptr<BlockDevice>();
  std::shared_ptr<MappedDevice> device;  // not let go under the lock
  {
    rtrs::MutexLock lock(&mu_);
    const bool answered = WaitWhile(*mapping, MappingState::kOpening, deadline);
    if (found.counted) --mapping->waiters;
    if (!answered && mapping->unsent && mapping->waiters == 0) {
      Move(*mapping, MappingState::kGone);
    }
    const MappingState state = mapping->state;
    if (!answered) {
      result = rtrs::ErrnoError(
          ETIMEDOUT, absl::StrCat("OPEN of ", Where(*mapping),
                                  ": no answer within io_timeout=",
                                  absl::FormatDuration(options_.io_timeout)));
    } else if (state == MappingState::kGone) {
      // Without error it was opened, used and let go by others meanwhile.
      if (found.counted && !mapping->error.ok()) result = mapping->error;
    } else if ((device = mapping->device.lock()) != nullptr) {
      if (mapping->mode != mode) {
        result = InOtherMode(*mapping, mode);
      } else {
        result = device;
      }
    } else if (state == MappingState::kOpen && !mapping->created) {
      if (mapping->mode != mode) {
        result = InOtherMode(*mapping, mode);
      } else {
        result = CreateDevice(mapping);
        if (!result.ok()) {
          Move(*mapping, MappingState::kClosing);
          close_id = mapping->rsp.device_id;
        }
      }
    } else if (!WaitWhile(*mapping, state, deadline)) {
      result = rtrs::ErrnoError(
          ETIMEDOUT, absl::StrCat(Where(*mapping), ": still ",
                                  MappingStateName(state), " after io_timeout=",
                                  absl::FormatDuration(options_.io_timeout)));
    }
  }
  if (close_id.has_value()) SendClose(mapping, *close_id);
  return result;
}

absl::StatusOr<std::shared_ptr<BlockDevice>> RnbdSession::CreateDevice(
    const MappingPtr& mapping) {
  RTRS_ASSIGN_OR_RETURN(DeviceInfo info, InfoOf(*mapping, mapping->rsp));
  RTRS_LOG(info,
           "{}: mapped {}, id {}, {} bytes, blocks of {}/{}, max_io_size {}{}",
           Where(*mapping), wire::AccessModeName(mapping->mode),
           mapping->rsp.device_id, info.size, info.logical_block_size,
           info.physical_block_size, info.max_io_size,
           info.write_back ? ", write back" : "");
  mapping->created = true;
  auto device = std::make_shared<MappedDevice>(
      session_.get(), mapping->link, std::move(info), options_,
      [self = shared_from_this(), mapping] { self->Unmap(mapping); });
  mapping->device = device;
  return device;
}

void RnbdSession::Unmap(const MappingPtr& mapping) {
  std::optional<uint32_t> close_id;
  {
    rtrs::MutexLock lock(&mu_);
    switch (mapping->state) {
      case MappingState::kOpen:
        close_id = mapping->rsp.device_id;
        Move(*mapping, MappingState::kClosing);
        break;
      case MappingState::kFailed:
        if (mapping->link->closed() == DeviceLink::Closed::kChanged) {
          close_id = mapping->rsp.device_id;
          Move(*mapping, MappingState::kClosing);
          break;
        }
        [[fallthrough]];
      case MappingState::kLost:
        Move(*mapping, MappingState::kGone);
        break;
      default:  // kReopening, kRefreshing: its answer is closed when it comes
        break;
    }
  }
  const absl::Time deadline = absl::Now() + kCloseTimeout;
  if (close_id.has_value()) SendClose(mapping, *close_id);
  rtrs::MutexLock lock(&mu_);
  if (!WaitWhile(*mapping, MappingState::kRefreshing, deadline) ||
      !WaitWhile(*mapping, MappingState::kClosing, deadline)) {
    RTRS_LOG(warn, "{}: still {}, no answer within {}", Where(*mapping),
             MappingStateName(mapping->state), kCloseTimeout);
  }
}

bool RnbdSession::WaitWhile(const Mapping& mapping, MappingState from,
                            absl::Time deadline) {
  const absl::Time start = absl::Now();
  absl::Time log_at = start + kWaitLog;
  while (mapping.state == from) {
    const absl::Time now = absl::Now();
    if (now >= deadline) return false;
    // The answer to CLOSE is waited for: the orderly end is part of quitting.
    if (from == MappingState::kOpening && options_.give_up &&
        options_.give_up()) {
      return false;
    }
    if (now >= log_at) {
      log_at = now + kWaitLog;
      RTRS_LOG(warn, "{}: still {} since {}", Where(mapping),
               MappingStateName(from), now - start);
    }
    changed_.WaitWithDeadline(&mu_, std::min({deadline, log_at, now + kLook}));
  }
  return true;
}

absl::Status RnbdSession::InOtherMode(const Mapping& mapping,
                                      wire::AccessMode mode) const {
  return rtrs::ErrnoError(
      EEXIST, absl::StrCat(Where(mapping), ": is mapped here with access_mode=",
                           wire::AccessModeName(mapping.mode),
                           ", so not at the same time with access_mode=",
                           wire::AccessModeName(mode)));
}

absl::Time RnbdSession::ControlDeadline() const {
  return absl::Now() + options_.io_timeout;  // infinite when that is
}

std::string RnbdSession::Where(const Mapping& mapping) const {
  return absl::StrCat("device ", mapping.name, " of session ",
                      options_.sessname);
}

}  // namespace rnbd::gateway
