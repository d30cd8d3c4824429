#include "tests/gateway/fake_session.h"

#include <errno.h>
#include <string.h>

#include <algorithm>
#include <utility>

#include "rtrs/base/mutex.h"

namespace rnbd::gateway {

using rtrs::client::Direction;
using rtrs::client::Request;
using rtrs::client::SessionState;

FakeDevice& FakeServer::AddDevice(const std::string& name, uint64_t bytes) {
  FakeDevice& device = devices_[name];
  device.bytes.resize(bytes);
  for (size_t i = 0; i < bytes; ++i) {
    device.bytes[i] = static_cast<uint8_t>(i * 7 + (i >> 9));
  }
  device.rsp.logical_block_size = 512;
  device.rsp.physical_block_size = 4096;
  device.rsp.cache_policy = wire::OpenRsp::kFua | wire::OpenRsp::kWriteBack;
  if (limits.max_io_size == 0) {
    limits.max_io_size = 124 * 1024;
    limits.queue_depth = 512;
  }
  return device;
}

void FakeServer::HoldOpens() {
  rtrs::MutexLock lock(&mu_);
  hold_opens_ = true;
}

void FakeServer::ReleaseOpens() {
  rtrs::MutexLock lock(&mu_);
  hold_opens_ = false;
  changed_.SignalAll();
}

void FakeServer::WaitForHeldOpen() {
  rtrs::MutexLock lock(&mu_);
  while (held_opens_ == 0) changed_.Wait(&mu_);
}

void FakeServer::Resize(const std::string& name, uint64_t bytes) {
  rtrs::MutexLock lock(&mu_);
  devices_[name].bytes.resize(bytes);
}

void FakeServer::FailOpens(int n, int error) {
  rtrs::MutexLock lock(&mu_);
  fail_opens_ = n;
  fail_error_ = error;
}

std::vector<SeenMessage> FakeServer::seen() const {
  rtrs::MutexLock lock(&mu_);
  return seen_;
}

std::vector<wire::Io> FakeServer::ios() const {
  std::vector<wire::Io> ios;
  for (const SeenMessage& m : seen()) {
    if (m.type == wire::RnbdType::kIo) ios.push_back(m.io);
  }
  return ios;
}

size_t FakeServer::Count(wire::RnbdType type) const {
  rtrs::MutexLock lock(&mu_);
  return static_cast<size_t>(
      std::count_if(seen_.begin(), seen_.end(),
                    [type](const SeenMessage& m) { return m.type == type; }));
}

size_t FakeServer::open_devices() const {
  rtrs::MutexLock lock(&mu_);
  return open_ids_.size();
}

void FakeServer::ClearSeen() {
  rtrs::MutexLock lock(&mu_);
  seen_.clear();
}

void FakeServer::ForgetSession() {
  rtrs::MutexLock lock(&mu_);
  open_ids_.clear();
  next_id_ += 10;
}

void FakeServer::Execute(Request* request, size_t run_size) {
  request->local_error = false;
  request->error = EINVAL;
  SeenMessage seen;
  seen.service = request->service;
  seen.direction = request->direction;
  seen.data = request->data;
  seen.data_len = request->data_len;
  seen.affinity = request->affinity;
  seen.run_size = run_size;
  const absl::Span<const uint8_t> message = request->user_message;
  const auto type = wire::DecodeType(message);
  if (!type.ok()) return;
  seen.type = *type;
  const auto note = [&] {
    rtrs::MutexLock lock(&mu_);
    seen_.push_back(seen);
  };
  switch (*type) {
    case wire::RnbdType::kSessInfo: {
      note();
      const auto rsp = wire::EncodeSessInfoRsp(wire::SessInfo{});
      memcpy(request->data, rsp.data(),
             std::min<size_t>(rsp.size(), request->data_len));
      request->error = 0;
      return;
    }
    case wire::RnbdType::kOpen: {
      const auto open = wire::DecodeOpen(message);
      if (!open.ok()) return;
      seen.open = *open;
      note();
      request->error = ExecuteOpen(*open, request);
      return;
    }
    case wire::RnbdType::kClose: {
      const auto close = wire::DecodeClose(message);
      if (!close.ok()) return;
      seen.closed_id = close->device_id;
      {
        rtrs::MutexLock lock(&mu_);
        open_ids_.erase(close->device_id);
      }
      note();  // last: tests wait for it
      request->error = 0;
      return;
    }
    case wire::RnbdType::kIo: {
      const auto io = wire::DecodeIo(message);
      if (!io.ok()) return;
      seen.io = *io;
      note();
      const int error = on_io == nullptr ? 0 : on_io(*io);
      request->error = error != 0 ? error : ExecuteIo(*io, request);
      return;
    }
    default:
      return;
  }
}

int FakeServer::ExecuteOpen(const wire::Open& open, Request* request) {
  rtrs::MutexLock lock(&mu_);
  if (hold_opens_) {
    ++held_opens_;
    changed_.SignalAll();
    while (hold_opens_) changed_.Wait(&mu_);
    --held_opens_;
  }
  if (fail_opens_ > 0) {
    --fail_opens_;
    return fail_error_;
  }
  const auto device = devices_.find(open.device_name);
  if (device == devices_.end()) return ENOENT;
  wire::OpenRsp rsp = device->second.rsp;
  rsp.nsectors = device->second.bytes.size() / wire::kSectorSize;
  const auto known = std::find_if(
      open_ids_.begin(), open_ids_.end(),
      [&open](const auto& id) { return id.second == open.device_name; });
  rsp.device_id = known != open_ids_.end() ? known->first : next_id_++;
  open_ids_[rsp.device_id] = open.device_name;
  const auto bytes = wire::Encode(rsp);
  if (request->data_len != bytes.size()) return EINVAL;
  memcpy(request->data, bytes.data(), bytes.size());
  return 0;
}

int FakeServer::ExecuteIo(const wire::Io& io, Request* request) {
  rtrs::MutexLock lock(&mu_);
  const auto id = open_ids_.find(io.device_id);
  if (id == open_ids_.end()) return ENOTCONN;
  FakeDevice& device = devices_[id->second];
  const uint64_t offset = io.sector * wire::kSectorSize;
  if (io.op == wire::Op::kFlush) return request->data_len == 0 ? 0 : EINVAL;
  const uint32_t block = device.rsp.logical_block_size;
  if (offset % block != 0 || io.length % block != 0 || io.length == 0 ||
      offset > device.bytes.size() ||
      io.length > device.bytes.size() - offset) {
    return EIO;
  }
  const bool with_data = io.op == wire::Op::kRead || io.op == wire::Op::kWrite;
  if (request->data_len != (with_data ? io.length : 0)) return EINVAL;
  if (request->data_len > limits.max_io_size) return EMSGSIZE;
  if ((request->direction == Direction::kRead) != (io.op == wire::Op::kRead)) {
    return EINVAL;
  }
  uint8_t* const at = device.bytes.data() + offset;
  switch (io.op) {
    case wire::Op::kRead:
      memcpy(request->data, at, io.length);
      return 0;
    case wire::Op::kWrite:
      memcpy(at, request->data, io.length);
      return 0;
    case wire::Op::kDiscard:
      memset(at, 0xdd, io.length);
      return 0;
    case wire::Op::kWriteZeroes:
      memset(at, 0, io.length);
      return 0;
    default:
      return EOPNOTSUPP;
  }
}

FakeSession::FakeSession(FakeServer* server)
    : server_(server), thread_(&FakeSession::Thread, this) {}

FakeSession::~FakeSession() {
  {
    rtrs::MutexLock lock(&mu_);
    stop_ = true;
    changed_.SignalAll();
  }
  thread_.join();
  server_->ForgetSession();
}

void FakeSession::Run(absl::Span<Request* const> requests,
                      absl::Time deadline) {
  {
    rtrs::MutexLock lock(&mu_);
    last_deadline_ = deadline;
  }
  for (size_t i = requests.size(); i-- > 0;) {
    if (!FailIfDown(requests[i])) {
      server_->Execute(requests[i], requests.size());
    }
  }
}

void FakeSession::Submit(Request* request) {
  rtrs::MutexLock lock(&mu_);
  queue_.push_back(request);
  changed_.SignalAll();
}

SessionState FakeSession::state() const {
  rtrs::MutexLock lock(&mu_);
  return state_;
}

rtrs::client::SessionLimits FakeSession::limits() const {
  return server_->limits;
}

uint32_t FakeSession::generation() const {
  rtrs::MutexLock lock(&mu_);
  return generation_;
}

absl::Status FakeSession::ChangePath(rtrs::client::PathChange change,
                                     const rtrs::PathSpec& spec) {
  rtrs::MutexLock lock(&mu_);
  if (change != rtrs::client::PathChange::kAdd) return absl::OkStatus();
  rtrs::client::PathInfo info;
  info.spec = spec;
  paths_.push_back(info);
  return absl::OkStatus();
}

std::vector<rtrs::client::PathInfo> FakeSession::paths() const {
  rtrs::MutexLock lock(&mu_);
  return paths_;
}

void FakeSession::SetStateCallback(
    std::function<void(SessionState, const absl::Status&)> callback) {
  rtrs::MutexLock lock(&mu_);
  callback_ = std::move(callback);
}

void FakeSession::SetNoticeCallback(
    std::function<void(uint32_t payload)> callback) {
  rtrs::MutexLock lock(&mu_);
  notice_callback_ = std::move(callback);
}

void FakeSession::Notice(uint32_t payload) {
  std::function<void(uint32_t)> callback;
  {
    rtrs::MutexLock lock(&mu_);
    callback = notice_callback_;
  }
  callback(payload);
}

void FakeSession::Disconnect() {
  server_->ForgetSession();
  SetState(SessionState::kDisconnected, absl::UnavailableError("cut by test"));
}

void FakeSession::Reconnect() {
  SetState(SessionState::kConnected, absl::OkStatus());
}

absl::Time FakeSession::last_deadline() const {
  rtrs::MutexLock lock(&mu_);
  return last_deadline_;
}

void FakeSession::SetState(SessionState state, const absl::Status& why) {
  std::function<void(SessionState, const absl::Status&)> callback;
  {
    rtrs::MutexLock lock(&mu_);
    if (state == SessionState::kDisconnected) ++generation_;
    state_ = state;
    callback = callback_;
  }
  if (callback != nullptr) callback(state, why);
}

bool FakeSession::FailIfDown(Request* request) {
  rtrs::MutexLock lock(&mu_);
  if (state_ == SessionState::kConnected &&
      (request->generation == 0 || request->generation == generation_)) {
    return false;
  }
  request->error = ECONNABORTED;
  request->local_error = true;
  return true;
}

void FakeSession::Thread() {
  for (;;) {
    Request* request = nullptr;
    {
      rtrs::MutexLock lock(&mu_);
      while (!stop_ && queue_.empty()) changed_.Wait(&mu_);
      if (queue_.empty()) return;  // what was submitted is answered first
      request = queue_.front();
      queue_.pop_front();
    }
    if (!FailIfDown(request)) server_->Execute(request, 1);
    request->done(request);
  }
}

}  // namespace rnbd::gateway
