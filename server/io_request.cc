#include "server/io_request.h"

#include <errno.h>

#include <cstring>
#include <new>
#include <type_traits>

#include "absl/strings/escaping.h"
#include "rtrs/base/log.h"
#include "server/blocking_io.h"
#include "server/io_priority.h"

namespace rnbd::server {
namespace {

using rtrs::server::Direction;
using rtrs::server::Request;
using wire::Io;
using wire::Op;
using Kind = StorageOp::Kind;

// What a request is doing. Moves only in IoRequest::Next.
enum class Stage : uint8_t {
  kStart,     // checked, nothing done
  kPreflush,  // syncing before the operation
  kMain,      // the operation itself
  kSync,      // syncing after it: FUA where the operation cannot do it
  kDone,      // answered
};

struct IoRequest : StorageOp {
  Request* request = nullptr;
  DeviceSlot* slot = nullptr;
  StorageEngine* engine = nullptr;
  Stage stage = Stage::kStart;
  Kind main = Kind::kSync;
  bool preflush = false;
  bool main_needed = true;
  bool sync_after = false;

  // The next thing to do.
  Stage Next() const {
    switch (stage) {
      case Stage::kStart:
        if (preflush) return Stage::kPreflush;
        [[fallthrough]];
      case Stage::kPreflush:
        if (main_needed) return Stage::kMain;
        [[fallthrough]];
      case Stage::kMain:
        if (sync_after) return Stage::kSync;
        [[fallthrough]];
      case Stage::kSync:
      case Stage::kDone:
        break;
    }
    return Stage::kDone;
  }
};
static_assert(sizeof(IoRequest) <= Request::kScratchSize);
static_assert(std::is_trivially_destructible_v<IoRequest>);

const char* KindName(Kind kind) {
  switch (kind) {
    case Kind::kRead:
      return "read";
    case Kind::kWrite:
      return "write";
    case Kind::kSync:
      return "sync";
    case Kind::kDiscard:
      return "discard";
    case Kind::kSecureErase:
      return "secure erase";
    case Kind::kZero:
      return "write zeroes";
    case Kind::kReplicate:
      return "write same";
  }
  return "unknown";
}

void Answer(IoRequest* io, int error) {
  io->stage = Stage::kDone;
  io->slot->Release();
  io->request->Complete(WireErrno(error));
}

// Whether a failure may mean that writes acknowledged before are lost, which
// the kernel says only once.
bool LosesWrites(const IoRequest& io, int error) {
  if (io.kind == Kind::kSync) return true;
  return io.kind == Kind::kWrite && io.dsync &&
         (error == EIO || error == ENOSPC || error == EDQUOT);
}

// Looks at the result of a stage; returns it, or the error that it must become.
int AfterStage(const IoRequest& io, int error) {
  const OpenDevice& device = io.slot->device();
  if (error != 0) {
    RTRS_LOG_EVERY(err, absl::Seconds(1),
                   "{}: {} of {} bytes at {} for session {} failed: {}",
                   absl::CHexEscape(device.path), KindName(io.kind), io.length,
                   io.offset, device.session_name, std::strerror(error));
    if (LosesWrites(io, error)) device.shared->CountSyncFailure();
    return error;
  }
  const bool durable = io.kind == Kind::kSync || io.dsync;
  return durable && device.LostWrites() ? EIO : 0;
}

void Run(IoRequest* io);

void OnDone(StorageOp* op, int error) {
  auto* io = static_cast<IoRequest*>(op);
  error = AfterStage(*io, error);
  if (error != 0) return Answer(io, error);
  Run(io);
}

// Does one stage after the other until one has to wait.
void Run(IoRequest* io) {
  while (true) {
    io->stage = io->Next();
    if (io->stage == Stage::kDone) return Answer(io, 0);
    io->kind = io->stage == Stage::kMain ? io->main : Kind::kSync;
    io->moved = 0;
    if (io->kind == Kind::kSync && io->slot->device().LostWrites()) {
      RTRS_LOG_EVERY(err, absl::Seconds(5),
                     "{}: flush for session {} refused: writes were lost "
                     "earlier; the client must open the device again",
                     absl::CHexEscape(io->slot->device().path),
                     io->slot->device().session_name);
      return Answer(io, EIO);
    }
    int error = 0;
    if (!TryInline(io, &error)) return io->engine->Submit(io);
    error = AfterStage(*io, error);
    if (error != 0) return Answer(io, error);
  }
}

// Where the operation goes: [offset, offset + length) must lie in the device.
int CheckRange(const Io& io, const Backing& backing) {
  const uint32_t block = backing.geometry().logical_block_size;
  if (io.length % block != 0) return EINVAL;
  const auto inside = [&io](uint64_t size) {
    const uint64_t sectors = size / wire::kSectorSize;
    return io.sector <= sectors &&
           io.length / wire::kSectorSize <= sectors - io.sector;
  };
  // It may have grown since it was looked at, and the client know that.
  if (!inside(backing.size()) && !inside(backing.AskSize())) return EIO;
  return io.sector % (block / wire::kSectorSize) != 0 ? EINVAL : 0;
}

// Operation 5 is write zeroes or, from old kernels, write same: trap 39.
int CheckWriteZeroes(const Io& io, size_t data, IoRequest* out) {
  if (data == 0) {
    out->main = Kind::kZero;
    out->no_unmap = (io.flags & Io::kNoUnmap) != 0;
    return 0;
  }
  if (data == io.length) {
    out->main = Kind::kWrite;
    return 0;
  }
  const uint32_t block = out->backing->geometry().logical_block_size;
  if (data > io.length || data % block != 0 || io.length % data != 0) {
    return EINVAL;
  }
  out->main = Kind::kReplicate;
  out->data_length = static_cast<uint32_t>(data);
  return 0;
}

// The one place where an IO message is checked; fills `out` from it.
int Check(const Request& request, const Io& io, const OpenDevice& device,
          IoRequest* out) {
  const size_t data = request.data.size();
  const bool to_client = request.direction == Direction::kRead;
  const bool fua = (io.flags & Io::kFua) != 0;
  out->backing = device.backing.get();
  out->preflush = (io.flags & Io::kPreflush) != 0;
  if (io.op == Op::kFlush) {
    // Its FUA and PREFLUSH bits, sector and length mean nothing. Data would
    // be what the chunk happens to hold.
    if (data != 0) return EINVAL;
    out->preflush = false;
    return 0;
  }
  if (io.op == Op::kRead) {
    if (!to_client || data != io.length) return EINVAL;
    out->main = Kind::kRead;
  } else {
    if (!device.writable()) return EROFS;
    if (to_client && data != 0) return EINVAL;
    switch (io.op) {
      case Op::kWrite:
        if (data != io.length) return EINVAL;
        out->main = Kind::kWrite;
        break;
      case Op::kDiscard:
      case Op::kSecureErase:
        if (data != 0) return EINVAL;
        out->main = io.op == Op::kDiscard ? Kind::kDiscard : Kind::kSecureErase;
        break;
      case Op::kWriteZeroes:
        if (const int error = CheckWriteZeroes(io, data, out)) return error;
        break;
      default:
        return EOPNOTSUPP;
    }
  }
  if (io.length == 0) {
    // An empty write is a flush, if it asks for one; its sector means nothing.
    out->main_needed = false;
    out->preflush = false;
    out->sync_after =
        io.op != Op::kRead && (fua || (io.flags & Io::kPreflush) != 0);
    return 0;
  }
  if (const int error = CheckRange(io, *device.backing)) return error;
  out->offset = io.sector * wire::kSectorSize;
  out->length = io.length;
  out->data = request.data.data();
  out->dsync = fua && out->main == Kind::kWrite;
  out->sync_after = fua && io.op != Op::kRead && !out->dsync;
  return 0;
}

}  // namespace

void StartIo(Request* request, const Io& io, const IoContext& context) {
  DeviceSlot* slot = context.devices->Acquire(io.device_id);
  if (slot == nullptr) return request->Complete(ENOTCONN);

  auto* out = new (request->scratch) IoRequest;
  out->request = request;
  out->slot = slot;
  out->engine = context.engine;
  out->memory = context.memory;
  out->done = &OnDone;
  if (context.use_priority) {
    out->priority = UsablePriority(io.priority, context.realtime_priority);
  }
  if (const int error = Check(*request, io, slot->device(), out)) {
    RTRS_LOG_EVERY(
        warn, absl::Seconds(5),
        "session {}: {} of {} bytes at sector {} with {} bytes of data on {} "
        "refused: {}",
        slot->device().session_name, wire::OpName(io.op), io.length, io.sector,
        request->data.size(), absl::CHexEscape(slot->device().path),
        std::strerror(error));
    return Answer(out, error);
  }
  Run(out);
}

int WireErrno(int error) {
  switch (error) {
    case 0:
    case EOPNOTSUPP:
    case ETIMEDOUT:
    case ENOSPC:
    case ENOLINK:
    case EREMOTEIO:
    case EBADE:
    case ENODATA:
    case EILSEQ:
    case ENOMEM:
    case EBUSY:
    case ENODEV:
    case EINVAL:
    case EROFS:
      return error;
    case EDQUOT:
      return ENOSPC;
    default:
      return EIO;
  }
}

}  // namespace rnbd::server
