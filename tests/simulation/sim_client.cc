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

SimClient::SimClient(std::string name, const World& world,
                     rtrs::SocketAddress server,
                     std::vector<rtrs::SocketAddress> sources, uint32_t sectors)
    : name_(std::move(name)),
      world_(world),
      random_(world.random),
      server_(std::move(server)),
      sources_(std::move(sources)),
      model_(sectors) {
  control_.client = this;
  for (int i = 0; i < kDepth; ++i) {
    operations_.push_back(std::make_unique<Operation>());
    operations_.back()->client = this;
  }
}

SimClient::~SimClient() { Crash(); }

void SimClient::Trace(const std::string& what) {
  absl::StrAppend(world_.trace, name_, ": ", what, "\n");
}

void SimClient::Violation(const std::string& what) {
  Trace(what);
  violations_.push_back(absl::StrCat(name_, ": ", what));
}

bool SimClient::Step() {
  bool busy = false;
  if (phase_ == Phase::kDown && world_.clock->Now() >= retry_at_) {
    Begin();
    busy = true;
  }
  if (session_ != nullptr) {
    if (phase_ == Phase::kOpen && !quiesced_ && random_->Below(2) == 0) {
      StartOperation();
    }
    // Not before the control message of an earlier life is back.
    if (phase_ == Phase::kConnected && !control_.busy) {
      phase_ = Phase::kSessInfo;
      SendControl({}, wire::SessInfo::kSize);
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
  channel_ = *world_.fabric->CreateEventChannel();
  rtrs::client::SessionOptions options;
  options.sessname = name_;
  options.io_connections = 1 + static_cast<uint32_t>(random_->Below(3));
  for (const rtrs::SocketAddress& source : sources_) {
    rtrs::PathSpec path;
    path.source.kind = rtrs::PathEnd::Kind::kIp;
    path.source.ip = source;
    path.destination.kind = rtrs::PathEnd::Kind::kIp;
    path.destination.ip = server_;
    path.port = server_.port();
    options.paths.push_back(path);
  }
  session_ = rtrs::client::Session::Create(
      world_.fabric, channel_.get(), world_.clock, random_, options, this);
  phase_ = Phase::kConnecting;
  session_->Start();
}

void SimClient::Crash() {
  if (session_ == nullptr) return;
  Trace("crash");
  End();
}

void SimClient::End() {
  ending_ = true;
  session_.reset();
  ending_ = false;
  channel_.reset();
  ended_ = false;
  phase_ = Phase::kDown;
  retry_at_ =
      world_.clock->Now() + absl::Milliseconds(200 + random_->Below(2000));
  // Nobody will tell what became of these.
  control_.busy = false;
  for (auto& operation : operations_) {
    if (!operation->busy) continue;
    operation->parked = false;
    operation->request.error = ECONNABORTED;
    operation->request.local_error = true;
    Finish(operation.get());
  }
}

void SimClient::OnSessionState(rtrs::client::SessionState state,
                               const absl::Status& why) {
  Trace(absl::StrCat("session ", rtrs::client::SessionStateName(state)));
  switch (state) {
    case rtrs::client::SessionState::kConnected:
      ++stats_.sessions;
      phase_ = Phase::kConnected;
      break;
    case rtrs::client::SessionState::kDisconnected:
      if (why.ok()) Trace("without a reason");
      phase_ = Phase::kConnecting;
      break;
    case rtrs::client::SessionState::kClosed:
      ended_ = true;
      break;
    default:
      break;
  }
}

void SimClient::OnNotice(uint32_t payload) {
  Violation(absl::StrCat("notice of ", payload, ", where no disk changed"));
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
  control_.generation = session_->generation();
  control_.request.generation = control_.generation;
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
    if (request.local_error) return;  // all paths were lost: from the start
    Violation(
        absl::StrCat("control message answered with errno ", request.error));
    ended_ = true;
    return;
  }
  if (control_.generation != session_->generation()) return;
  if (phase_ == Phase::kSessInfo) {
    phase_ = Phase::kOpening;
    losses_at_request_ = world_.disk->losses();
    const auto open = wire::Encode(wire::Open{wire::AccessMode::kRw, name_});
    SendControl({open.begin(), open.end()}, wire::OpenRsp::kSize);
    return;
  }
  const absl::StatusOr<wire::OpenRsp> rsp = wire::DecodeOpenRsp(control_.data);
  if (!rsp.ok() || rsp->nsectors != model_.sectors()) {
    Violation("wrong OPEN_RSP");
    ended_ = true;
    return;
  }
  OnOpenRsp(*rsp);
}

void SimClient::OnOpenRsp(const wire::OpenRsp& rsp) {
  const bool told = verifier_ != 0 && verifier_ != rsp.write_verifier;
  // Nothing was lost until now, so nothing when it answered.
  if (told && world_.disk->losses() == losses_at_open_) {
    Violation("the write verifier tells of a loss where none was");
  }
  if (rsp.write_verifier == 0) Violation("no write verifier");
  if (told) {
    ++stats_.losses;
    model_.LoseCache(world_.disk->clean());
  }
  verifier_ = rsp.write_verifier;
  losses_at_open_ = losses_at_request_;
  device_id_ = rsp.device_id;
  phase_ = Phase::kOpen;
  Trace(told ? "open, with a loss" : "open");
  for (auto& operation : operations_) {
    if (!operation->parked) continue;
    operation->parked = false;
    ++stats_.resumed;
    Send(operation.get());
  }
}

void SimClient::ChooseOperation(Operation* op) {
  op->count = 1 + static_cast<uint32_t>(random_->Below(kMaxSectors));
  op->first =
      static_cast<uint32_t>(random_->Below(model_.sectors() - op->count));
  op->io = {};
  op->io.device_id = device_id_;
  op->io.sector = op->first;
  op->io.length = op->count * DiskModel::kSector;
  op->stamp = DiskModel::kZeros;
  op->data.clear();
  switch (random_->Below(10)) {
    case 0:
      op->io.op = wire::Op::kFlush;
      op->io.sector = ~uint64_t{0};
      op->io.length = 0;
      op->count = 0;
      return;
    case 1:
      op->io.op = wire::Op::kWriteZeroes;
      break;
    case 2:
      op->io.op = wire::Op::kDiscard;
      break;
    case 3:
    case 4:
    case 5:
    case 6:
      op->io.op = wire::Op::kWrite;
      op->stamp = next_stamp_++;
      op->data.resize(op->io.length);
      DiskModel::Fill(op->stamp, op->first, absl::MakeSpan(op->data));
      break;
    default:
      op->io.op = wire::Op::kRead;
      op->data.assign(op->io.length, 0xEE);
      return;
  }
  if (random_->Below(4) == 0) op->io.flags |= wire::Io::kFua;
  if (random_->Below(8) == 0) op->io.flags |= wire::Io::kPreflush;
}

void SimClient::StartOperation() {
  auto free = std::find_if(operations_.begin(), operations_.end(),
                           [](const auto& op) { return !op->busy; });
  if (free == operations_.end()) return;
  Operation& op = **free;
  ChooseOperation(&op);
  const bool reads = op.io.op == wire::Op::kRead;
  if (reads ? !model_.MayRead(op.first, op.count)
            : !model_.MayWrite(op.first, op.count)) {
    return;
  }
  op.begun = model_.BeginFlush();
  if (reads) {
    model_.BeginRead(op.first, op.count);
  } else {
    model_.BeginWrite(op.first, op.count);
  }
  op.busy = true;
  ++operations_in_flight_;
  Send(&op);
}

void SimClient::Send(Operation* op) {
  op->request = {};
  op->request.affinity = static_cast<uint32_t>(random_->Below(4));
  op->request.direction =
      op->io.op == wire::Op::kRead || op->io.op == wire::Op::kFlush
          ? rtrs::client::Direction::kRead
          : rtrs::client::Direction::kWrite;
  op->generation = session_->generation();
  op->request.generation = op->generation;
  op->io.device_id = device_id_;
  op->message.resize(wire::Io::kSize);
  wire::EncodeIo(op->io, op->message.data());
  op->request.user_message = op->message;
  op->request.data = op->data.empty() ? nullptr : op->data.data();
  op->request.data_len = static_cast<uint32_t>(op->data.size());
  op->request.context = op;
  op->request.done = [](rtrs::client::Request* request) {
    auto* operation = static_cast<Operation*>(request->context);
    if (!operation->client->Park(operation)) {
      operation->client->Finish(operation);
    }
  };
  session_->Submit(&op->request);
}

bool SimClient::Park(Operation* op) {
  if (!op->request.local_error || ending_) return false;
  if (op->request.error != ECONNABORTED ||
      op->generation == session_->generation()) {
    Violation(absl::StrCat(wire::OpName(op->io.op), " failed with errno ",
                           op->request.error, " although a path was up"));
  }
  op->parked = true;
  return true;
}

void SimClient::OnError(const Operation& op) {
  if (op.request.local_error) {
    ++stats_.aborted;
    return;
  }
  ++stats_.failed;
  const int error = op.request.error;
  if (world_.disks->struck == 0 || (error != EIO && error != ENOSPC)) {
    Violation(
        absl::StrCat(wire::OpName(op.io.op), " answered with errno ", error));
  }
  const bool syncs =
      op.io.op == wire::Op::kFlush ||
      (op.io.flags & (wire::Io::kFua | wire::Io::kPreflush)) != 0;
  if (!syncs) return;
  // No flush of this opening succeeds any more.
  model_.FailFlush();
  ended_ = true;
}

void SimClient::Finish(Operation* op) {
  op->busy = false;
  --operations_in_flight_;
  const int error = op->request.error;
  Trace(absl::StrCat(wire::OpName(op->io.op), " ", op->first, "+", op->count,
                     " stamp ", op->stamp, " flags ", op->io.flags, ": errno ",
                     error));
  if (error == 0) {
    ++stats_.completed;
  } else {
    OnError(*op);
  }
  DiskModel::Outcome outcome;
  outcome.certain = error == 0;
  outcome.durable = (op->io.flags & wire::Io::kFua) != 0;
  outcome.either = op->io.op == wire::Op::kDiscard;
  if (op->io.op == wire::Op::kRead) {
    model_.EndRead(op->first, op->count);
    if (error != 0) return;
    const std::string wrong = model_.Check(op->first, op->data);
    if (!wrong.empty()) Violation(wrong);
    return;
  }
  if (op->count != 0) {
    model_.EndWrite(op->first, op->count, op->stamp, outcome);
  }
  const bool flushes = op->io.op == wire::Op::kFlush ||
                       (op->io.flags & wire::Io::kPreflush) != 0;
  if (error == 0 && flushes) model_.EndFlush(op->begun);
}

}  // namespace rnbd::simulation
