#include "tests/simulation/sim_client.h"

#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace rnbd::simulation {
namespace {

constexpr int kDepth = 6;
constexpr uint32_t kMaxSectors = 40;  // of one operation

}  // namespace

SimClient::SimClient(std::string name, rtrs::fabric::Fabric* fabric,
                     rtrs::Clock* clock, rtrs::Random* random,
                     rtrs::SocketAddress server, uint32_t sectors,
                     std::string* trace)
    : name_(std::move(name)),
      fabric_(fabric),
      clock_(clock),
      random_(random),
      server_(std::move(server)),
      trace_(trace),
      model_(sectors) {
  control_.client = this;
  for (int i = 0; i < kDepth; ++i) {
    operations_.push_back(std::make_unique<Operation>());
    operations_.back()->client = this;
  }
}

SimClient::~SimClient() { Crash(); }

void SimClient::Trace(const std::string& what) {
  absl::StrAppend(trace_, name_, ": ", what, "\n");
}

bool SimClient::Step() {
  bool busy = false;
  if (phase_ == Phase::kDown && clock_->Now() >= retry_at_) {
    Begin();
    busy = true;
  }
  if (session_ != nullptr) {
    if (phase_ == Phase::kOpen && !quiesced_ && random_->Below(2) == 0) {
      StartOperation();
    }
    busy |= session_->Progress();
    session_->Flush();
    if (ended_) End();
  }
  return busy;
}

absl::Time SimClient::NextDeadline() const {
  return session_ == nullptr ? retry_at_ : session_->NextDeadline();
}

void SimClient::Begin() {
  channel_ = *fabric_->CreateEventChannel();
  rtrs::client::SessionOptions options;
  options.sessname = name_;
  options.io_connections = 1 + static_cast<uint32_t>(random_->Below(3));
  rtrs::PathSpec path;
  path.destination.kind = rtrs::PathEnd::Kind::kIp;
  path.destination.ip = server_;
  path.port = server_.port();
  options.paths = {path};
  session_ = rtrs::client::Session::Create(fabric_, channel_.get(), clock_,
                                           random_, options, this);
  phase_ = Phase::kConnecting;
  session_->Start();
}

void SimClient::Crash() {
  if (session_ == nullptr) return;
  Trace("crash");
  End();
  // Nobody will tell what became of these.
  control_.busy = false;
  for (auto& operation : operations_) {
    if (!operation->busy) continue;
    operation->request.error = ECONNABORTED;
    operation->request.local_error = true;
    Finish(operation.get());
  }
}

void SimClient::End() {
  session_.reset();
  channel_.reset();
  ended_ = false;
  phase_ = Phase::kDown;
  retry_at_ = clock_->Now() + absl::Milliseconds(200 + random_->Below(2000));
}

void SimClient::OnSessionState(rtrs::client::SessionState state,
                               const absl::Status& why) {
  Trace(absl::StrCat("session ", rtrs::client::SessionStateName(state)));
  switch (state) {
    case rtrs::client::SessionState::kConnected:
      ++stats_.sessions;
      phase_ = Phase::kSessInfo;
      SendControl({}, wire::SessInfo::kSize);
      break;
    case rtrs::client::SessionState::kDisconnected:
    case rtrs::client::SessionState::kClosed:
      if (why.ok()) Trace("without a reason");
      ended_ = true;
      break;
    default:
      break;
  }
}

void SimClient::SendControl(std::vector<uint8_t> message,
                            uint32_t reply_length) {
  if (message.empty()) {
    const auto info = wire::EncodeSessInfo({});
    message.assign(info.begin(), info.end());
  }
  control_.message = std::move(message);
  control_.data.assign(reply_length, 0xEE);
  control_.busy = true;
  control_.request = {};
  control_.request.service = true;
  control_.request.user_message = control_.message;
  control_.request.data = control_.data.data();
  control_.request.data_len = reply_length;
  control_.request.context = this;
  control_.request.done = [](rtrs::client::Request* request) {
    static_cast<SimClient*>(request->context)->OnControlDone();
  };
  session_->Submit(&control_.request);
}

void SimClient::OnControlDone() {
  control_.busy = false;
  const rtrs::client::Request& request = control_.request;
  if (request.error != 0) {
    Trace(absl::StrCat("control: errno ", request.error));
    if (!request.local_error) {
      violations_.push_back(absl::StrCat(
          name_, ": control message answered with errno ", request.error));
    }
    ended_ = true;
    return;
  }
  if (phase_ == Phase::kSessInfo) {
    phase_ = Phase::kOpening;
    const auto open = wire::Encode(wire::Open{wire::AccessMode::kRw, name_});
    SendControl({open.begin(), open.end()}, wire::OpenRsp::kSize);
    return;
  }
  const absl::StatusOr<wire::OpenRsp> rsp = wire::DecodeOpenRsp(control_.data);
  if (!rsp.ok() || rsp->nsectors != model_.sectors()) {
    violations_.push_back(absl::StrCat(name_, ": wrong OPEN_RSP"));
    ended_ = true;
    return;
  }
  device_id_ = rsp->device_id;
  phase_ = Phase::kOpen;
  Trace("open");
}

void SimClient::StartOperation() {
  auto free = std::find_if(operations_.begin(), operations_.end(),
                           [](const auto& op) { return !op->busy; });
  if (free == operations_.end()) return;
  Operation& op = **free;
  op.count = 1 + static_cast<uint32_t>(random_->Below(kMaxSectors));
  op.first = static_cast<uint32_t>(random_->Below(model_.sectors() - op.count));
  op.io = {};
  op.io.device_id = device_id_;
  op.io.sector = op.first;
  op.io.length = op.count * DiskModel::kSector;
  op.request = {};
  op.request.affinity = static_cast<uint32_t>(random_->Below(4));
  op.data.clear();
  switch (random_->Below(10)) {
    case 0:
      op.io.op = wire::Op::kFlush;
      op.io.sector = ~uint64_t{0};
      op.io.length = 0;
      op.count = 0;
      break;
    case 1:
      op.io.op = wire::Op::kWriteZeroes;
      op.stamp = DiskModel::kZeros;
      break;
    case 2:
      op.io.op = wire::Op::kDiscard;
      break;
    case 3:
    case 4:
    case 5:
    case 6:
      op.io.op = wire::Op::kWrite;
      if (random_->Below(4) == 0) op.io.flags = wire::Io::kFua;
      op.stamp = next_stamp_++;
      op.data.resize(op.io.length);
      DiskModel::Fill(op.stamp, op.first, absl::MakeSpan(op.data));
      break;
    default:
      op.io.op = wire::Op::kRead;
      op.data.assign(op.io.length, 0xEE);
      break;
  }
  const bool reads = op.io.op == wire::Op::kRead;
  if (op.count > 0) {
    if (reads ? !model_.MayRead(op.first, op.count)
              : !model_.MayWrite(op.first, op.count)) {
      return;
    }
    if (reads) {
      model_.BeginRead(op.first, op.count);
    } else {
      model_.BeginWrite(op.first, op.count);
    }
  }
  op.request.direction = reads || op.io.op == wire::Op::kFlush
                             ? rtrs::client::Direction::kRead
                             : rtrs::client::Direction::kWrite;
  op.message.resize(wire::Io::kSize);
  wire::EncodeIo(op.io, op.message.data());
  op.request.user_message = op.message;
  op.request.data = op.data.empty() ? nullptr : op.data.data();
  op.request.data_len = static_cast<uint32_t>(op.data.size());
  op.request.context = &op;
  op.request.done = [](rtrs::client::Request* request) {
    auto* operation = static_cast<Operation*>(request->context);
    operation->client->Finish(operation);
  };
  op.busy = true;
  ++operations_in_flight_;
  session_->Submit(&op.request);
}

void SimClient::Finish(Operation* op) {
  op->busy = false;
  --operations_in_flight_;
  const int error = op->request.error;
  const bool certain = error == 0;
  Trace(absl::StrCat(wire::OpName(op->io.op), " ", op->first, "+", op->count,
                     " stamp ", op->stamp, ": errno ", error));
  if (certain) {
    ++stats_.completed;
  } else {
    ++stats_.aborted;
    if (!op->request.local_error) {
      violations_.push_back(absl::StrCat(name_, ": ", wire::OpName(op->io.op),
                                         " answered with errno ", error));
    }
  }
  switch (op->io.op) {
    case wire::Op::kRead:
      model_.EndRead(op->first, op->count);
      if (certain) {
        const std::string wrong = model_.Check(op->first, op->data);
        if (!wrong.empty()) {
          violations_.push_back(absl::StrCat(name_, ": ", wrong));
        }
      }
      break;
    case wire::Op::kWrite:
    case wire::Op::kWriteZeroes:
      model_.EndWrite(op->first, op->count, op->stamp, certain);
      break;
    case wire::Op::kDiscard:
      model_.EndDiscard(op->first, op->count);
      break;
    default:
      break;
  }
}

}  // namespace rnbd::simulation
