#include "server/rnbd_session.h"

#include <errno.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/mutex.h"
#include "rtrs/wire/immediate.h"
#include "rtrs/wire/rnbd_messages.h"
#include "server/io_request.h"

namespace rnbd::server {
namespace {

using rtrs::server::Direction;
using rtrs::server::Request;

// Puts `reply` into the client's buffer and zeroes what is behind it, which
// else would go out as the chunk happens to be.
template <size_t N>
void FillReply(const std::array<uint8_t, N>& reply, Request* request) {
  std::memcpy(request->data.data(), reply.data(), N);
  std::memset(request->data.data() + N, 0, request->data.size() - N);
}

bool HasRoomFor(const Request& request, size_t reply) {
  return request.direction == Direction::kRead && request.data.size() >= reply;
}

}  // namespace

void RnbdSession::Notifier::Send(uint32_t device_id) {
  rtrs::MutexLock lock(&mutex_);
  if (session_ != nullptr) session_->SendNotice(device_id);
}

void RnbdSession::Notifier::Close() {
  rtrs::MutexLock lock(&mutex_);
  session_ = nullptr;
}

RnbdSession::RnbdSession(rtrs::server::Session* session,
                         const SessionServices* services)
    : session_(session),
      services_(services),
      shown_name_(absl::CHexEscape(session->name())),
      version_(wire::kProtocolMajor),
      notifier_(std::make_shared<Notifier>(session)),
      memory_slots_(services->workers.size(), SessionMemory::kUntried) {
  memory_.bytes = session->chunk_memory();
  memory_.slots = absl::MakeSpan(memory_slots_);
}

RnbdSession::~RnbdSession() {
  notifier_->Close();
  devices_.ForEach([this](uint32_t id) {
    devices_.Close(id, [this, id](std::unique_ptr<OpenDevice> device) {
      RTRS_LOG(info, "session {}: device {} ({}) closed with the session",
               shown_name_, id, absl::CHexEscape(device->name));
      ForgetInWorkers(*device->backing);
      // The next writer is let in at once; closing the file may take a while.
      device->LeaveRegistry();
      services_->control(
          [shared = std::shared_ptr<OpenDevice>(std::move(device))] {});
    });
  });
  for (size_t i = 0; i < memory_slots_.size(); ++i) {
    if (memory_slots_[i] < 0) continue;
    const WorkerEngine& target = services_->workers[i];
    target.worker->Post([engine = target.engine, slot = memory_slots_[i]] {
      engine->ForgetMemory(slot);
    });
  }
}

void RnbdSession::OnIo(Request* request) {
  const absl::StatusOr<wire::Io> io = wire::DecodeIo(request->user_message);
  if (!io.ok()) {
    RTRS_LOG_EVERY(warn, absl::Seconds(5), "session {}: IO message refused: {}",
                   shown_name_, io.status());
    return request->Complete(rtrs::ErrnoOf(io.status()));
  }
  IoContext context;
  context.devices = &devices_;
  context.memory = &memory_;
  context.engine =
      services_->workers[static_cast<size_t>(request->worker->index())].engine;
  context.use_priority = version_.load(std::memory_order_relaxed) >= 2;
  context.realtime_priority = services_->realtime_priority;
  StartIo(request, *io, context);
}

void RnbdSession::OnControl(Request* request) {
  {
    rtrs::MutexLock lock(&mutex_);
    control_.push_back(request);
    if (control_.size() > 1) return;
  }
  services_->control([this] { RunNextControl(); });
}

void RnbdSession::RunNextControl() {
  Request* request = nullptr;
  {
    rtrs::MutexLock lock(&mutex_);
    request = control_.front();
  }
  const absl::StatusOr<wire::RnbdType> type =
      wire::DecodeType(request->user_message);
  if (type.ok() && *type == wire::RnbdType::kSessInfo) {
    return HandleSessInfo(request);
  }
  if (type.ok() && *type == wire::RnbdType::kOpen) return HandleOpen(request);
  if (type.ok() && *type == wire::RnbdType::kClose) return HandleClose(request);
  RTRS_LOG_EVERY(warn, absl::Seconds(5), "session {}: message refused: {}",
                 shown_name_,
                 type.ok() ? absl::InvalidArgumentError("a server's message")
                           : type.status());
  FinishControl(request, EINVAL);
}

void RnbdSession::FinishControl(Request* request, int error) {
  bool more = false;
  {
    rtrs::MutexLock lock(&mutex_);
    control_.pop_front();
    more = !control_.empty();
  }
  request->worker->Post([request, error] { request->Complete(error); });
  // Only a message that waits keeps the session alive now.
  if (more) services_->control([this] { RunNextControl(); });
}

void RnbdSession::HandleSessInfo(Request* request) {
  absl::StatusOr<wire::SessInfo> info =
      wire::DecodeSessInfo(request->user_message);
  if (!info.ok() || !HasRoomFor(*request, wire::SessInfo::kSize)) {
    RTRS_LOG_EVERY(warn, absl::Seconds(5), "session {}: SESS_INFO refused",
                   shown_name_);
    return FinishControl(request, EINVAL);
  }
  info->version = std::min(info->version, wire::kProtocolMajor);
  version_.store(info->version, std::memory_order_relaxed);
  ++lives_;
  RTRS_LOG(debug, "session {}: RNBD protocol version {}", shown_name_,
           info->version);
  FillReply(wire::EncodeSessInfoRsp(*info), request);
  FinishControl(request, 0);
}

absl::StatusOr<DeviceSlot*> RnbdSession::OpenDeviceFor(const wire::Open& open) {
  if (DeviceSlot* slot = devices_.FindByName(open.device_name)) {
    // The mode is ignored. The client may only have lost the answer, or asks
    // for the size of a device that it uses: then what was lost stays lost.
    const OpenDevice& known = slot->device();
    known.backing->RefreshSize();
    if (HasVerifiers() && known.opened_in_life != lives_) {
      known.ForgiveLostWrites();
    }
    known.opened_in_life = lives_;
    return slot;
  }
  absl::StatusOr<std::unique_ptr<OpenDevice>> device =
      services_->opener->Open(session_->name(), open.device_name,
                              open.access_mode, [this](const DeviceKey& key) {
                                return devices_.FindByKey(key) != nullptr;
                              });
  if (!device.ok()) return device.status();
  OpenDevice* const opened = device->get();
  opened->opened_in_life = lives_;
  opened->told_size = opened->backing->size();
  DeviceSlot* slot = devices_.Open(*std::move(device));
  if (slot == nullptr) {
    return rtrs::ErrnoError(EMFILE,
                            absl::StrCat("more than ", DeviceTable::kMaxDevices,
                                         " devices in one session"));
  }
  services_->opener->Watch(opened, TellOfSize(slot->id()));
  return slot;
}

SizeWatch::Tell RnbdSession::TellOfSize(uint32_t id) const {
  static_assert(DeviceTable::kMaxDevices <= rtrs::wire::kImmPayloadMask);
  if (!session_->client_capabilities().Has(rtrs::wire::Capabilities::kNotice)) {
    return nullptr;
  }
  return [notifier = notifier_, id] { notifier->Send(id); };
}

void RnbdSession::FillOpenRsp(DeviceSlot* slot, Request* request) const {
  const OpenDevice& device = slot->device();
  Geometry geometry = device.backing->geometry();
  geometry.size = device.backing->size();
  device.told_size.store(geometry.size, std::memory_order_relaxed);
  wire::OpenRsp rsp = ToOpenRsp(geometry, device.writable());
  rsp.device_id = slot->id();
  if (HasVerifiers()) {
    rsp.write_verifier = services_->opener->WriteVerifier(device);
  }
  FillReply(wire::Encode(rsp), request);
}

void RnbdSession::HandleOpen(Request* request) {
  const absl::StatusOr<wire::Open> open =
      wire::DecodeOpen(request->user_message);
  if (!open.ok() || !HasRoomFor(*request, wire::OpenRsp::kSize)) {
    RTRS_LOG_EVERY(warn, absl::Seconds(5), "session {}: OPEN refused: {}",
                   shown_name_,
                   open.ok() ? absl::InvalidArgumentError("no room for reply")
                             : open.status());
    return FinishControl(request,
                         open.ok() ? EINVAL : rtrs::ErrnoOf(open.status()));
  }
  const absl::StatusOr<DeviceSlot*> slot = OpenDeviceFor(*open);
  if (!slot.ok()) {
    // A client that tries names must not fill the log.
    RTRS_LOG_EVERY(warn, absl::Milliseconds(100),
                   "session {}: OPEN of \"{}\" ({}) refused: {}", shown_name_,
                   absl::CHexEscape(open->device_name),
                   wire::AccessModeName(open->access_mode), slot.status());
    return FinishControl(request, rtrs::ErrnoOf(slot.status()));
  }
  const OpenDevice& device = (*slot)->device();
  const Geometry& geometry = device.backing->geometry();
  RTRS_LOG(info, "session {}: device {} is {} ({}), {} bytes, blocks of {}, {}",
           shown_name_, (*slot)->id(), absl::CHexEscape(device.path),
           wire::AccessModeName(device.mode), device.backing->size(),
           geometry.logical_block_size,
           geometry.direct ? "direct I/O" : "buffered");
  FillOpenRsp(*slot, request);
  FinishControl(request, 0);
}

void RnbdSession::HandleClose(Request* request) {
  const absl::StatusOr<wire::Close> close =
      wire::DecodeClose(request->user_message);
  if (!close.ok()) {
    RTRS_LOG_EVERY(warn, absl::Seconds(5), "session {}: CLOSE refused: {}",
                   shown_name_, close.status());
    return FinishControl(request, EINVAL);
  }
  // A CLOSE has no reply; what the client offers room for must not be stale.
  if (request->direction == Direction::kRead && !request->data.empty()) {
    std::memset(request->data.data(), 0, request->data.size());
  }
  const uint32_t id = close->device_id;
  const bool known = devices_.Close(
      id, [this, request, id](std::unique_ptr<OpenDevice> device) {
        // Perhaps in the middle of a request's answer: leave that thread.
        std::shared_ptr<OpenDevice> shared = std::move(device);
        services_->control([this, request, id, shared]() mutable {
          RTRS_LOG(info, "session {}: device {} ({}) closed", shown_name_, id,
                   absl::CHexEscape(shared->name));
          ForgetInWorkers(*shared->backing);
          shared->LeaveRegistry();
          FinishControl(request, 0);
        });
      });
  if (!known) {
    RTRS_LOG(debug, "session {}: CLOSE of unknown device {}", shown_name_, id);
    FinishControl(request, 0);
  }
}

void RnbdSession::ForgetInWorkers(const Backing& backing) {
  for (const WorkerEngine& target : services_->workers) {
    target.worker->Post(
        [engine = target.engine, index = backing.index(),
         serial = backing.serial()] { engine->ForgetFile(index, serial); });
  }
}

}  // namespace rnbd::server
