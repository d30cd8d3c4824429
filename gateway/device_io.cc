#include "gateway/device_io.h"

#include <errno.h>

#include <algorithm>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rtrs/base/clock.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"

namespace rnbd::gateway {
namespace {

using rtrs::client::Direction;
using rtrs::client::Request;

// Parts that are in flight at the same time for one call, and how many of them
// need no allocation.
constexpr size_t kBatch = 64;
constexpr size_t kOnStack = 16;
// Parts of a request that is split begin at multiples of it, or of the block
// size if that is larger, from the start.
constexpr uint64_t kPartUnit = 4096;

uint64_t RoundUp(uint64_t v, uint64_t unit) {
  return (v + unit - 1) / unit * unit;
}

// How often a wait for the server is spoken of.
constexpr absl::Duration kWaitLog = absl::Seconds(5);
// How often it looks whether to give up.
constexpr absl::Duration kLook = absl::Milliseconds(200);

// The size of the parts of `segment`: about equal, so that no tiny last part
// waits behind full ones.
uint64_t PartSize(const Segment& segment, uint64_t max, uint32_t block) {
  if (segment.count <= max) return segment.count;
  if (segment.data == nullptr || segment.repeat_data) return max;
  const uint64_t parts = (segment.count + max - 1) / max;
  return std::min(max, RoundUp((segment.count + parts - 1) / parts,
                               std::max<uint64_t>(kPartUnit, block)));
}

}  // namespace

struct DeviceIo::Part {
  Request request;
  uint8_t message[wire::Io::kSize];
  wire::Op op;
  uint64_t offset;
  uint32_t count;
};

absl::Status DeviceIo::Run(absl::Span<const Segment> segments,
                           uint32_t affinity) {
  Try t;
  t.deadline = Deadline();
  t.affinity = affinity;
  for (;;) {
    t.generation = 0;
    t.lost = false;
    absl::Status status =
        segments.size() == 1 && segments[0].count <= MaxPart(segments[0])
            ? RunSingle(segments[0], &t)
            : RunParts(segments, &t);
    if (!t.lost || fail_fast_) return status;
    RTRS_RETURN_IF_ERROR(WaitOpen(t, status));
  }
}

uint64_t DeviceIo::MaxPart(const Segment& segment) const {
  // The server may have come back with smaller chunks.
  return segment.data == nullptr
             ? segment.max_part
             : std::min(segment.max_part, link_->max_io_size());
}

absl::Status DeviceIo::RunSingle(const Segment& segment, Try* t) {
  const std::optional<DeviceLink::Opened> opened = link_->opened();
  if (!opened.has_value()) return NotOpen(segment, t);
  Part part;
  Prepare(segment, 0, segment.count, *opened, t->affinity, &part);
  Request* const request = &part.request;
  session_->Run(absl::MakeConstSpan(&request, 1), t->deadline);
  return Result(part, t);
}

absl::Status DeviceIo::RunParts(absl::Span<const Segment> segments, Try* t) {
  absl::InlinedVector<Part, kOnStack> parts;
  absl::InlinedVector<Request*, kOnStack> requests;
  size_t total = 0;
  for (const Segment& segment : segments) {
    if (segment.count == 0) continue;
    const uint64_t size =
        PartSize(segment, MaxPart(segment), info_->logical_block_size);
    total += static_cast<size_t>((segment.count + size - 1) / size);
  }
  parts.reserve(std::min(total, kBatch));  // requests point into it
  absl::Status result;
  const auto run = [&] {
    if (parts.empty()) return;
    for (Part& part : parts) requests.push_back(&part.request);
    session_->Run(requests, t->deadline);
    for (const Part& part : parts) {
      if (result.ok()) result = Result(part, t);
    }
    // Not clear(), which would give back the room that was reserved.
    parts.erase(parts.begin(), parts.end());
    requests.clear();
  };
  for (const Segment& segment : segments) {
    if (segment.count == 0) continue;
    const uint64_t size =
        PartSize(segment, MaxPart(segment), info_->logical_block_size);
    for (uint64_t at = 0; at < segment.count && result.ok(); at += size) {
      const std::optional<DeviceLink::Opened> opened = link_->opened();
      if (!opened.has_value()) {
        run();
        return result.ok() ? NotOpen(segment, t) : result;
      }
      if (parts.size() == parts.capacity()) run();  // another part size now
      parts.emplace_back();
      Prepare(segment, at, std::min(size, segment.count - at), *opened,
              t->affinity, &parts.back());
      if (parts.size() == kBatch) run();
    }
  }
  run();
  return result;
}

void DeviceIo::Prepare(const Segment& segment, uint64_t at, uint64_t count,
                       const DeviceLink::Opened& opened, uint32_t affinity,
                       Part* part) {
  part->op = segment.op;
  part->offset = segment.offset + at;
  part->count = static_cast<uint32_t>(count);
  wire::Io io;
  io.device_id = opened.device_id;
  io.sector = part->offset / wire::kSectorSize;
  io.op = segment.op;
  io.flags = segment.flags;
  io.length = part->count;
  wire::EncodeIo(io, part->message);
  Request& request = part->request;
  // Flush travels as a read without data, as the kernel sends it.
  request.direction =
      segment.op == wire::Op::kRead || segment.op == wire::Op::kFlush
          ? Direction::kRead
          : Direction::kWrite;
  request.affinity = affinity;
  request.generation = opened.generation;
  request.user_message = part->message;
  if (segment.data != nullptr) {
    request.data = segment.data + (segment.repeat_data ? 0 : at);
    request.data_len = part->count;
  }
}

absl::Status DeviceIo::Result(const Part& part, Try* t) const {
  const Request& request = part.request;
  if (request.error == 0) return absl::OkStatus();
  std::string what = absl::StrCat(wire::OpName(part.op), " of ", part.count,
                                  " bytes at ", part.offset, Where(), ": ");
  if (!request.local_error) {
    absl::StrAppend(&what, "the server answered");
  } else if (request.error == ETIMEDOUT) {
    absl::StrAppend(&what, "no answer within io_timeout=",
                    absl::FormatDuration(io_timeout_));
  } else if (request.error == ECONNABORTED) {
    t->lost = true;
    t->generation = request.generation;
    absl::StrAppend(&what, "the connection was lost");
  } else {
    absl::StrAppend(&what, "not done");
  }
  return rtrs::ErrnoError(request.error, what);
}

absl::Status DeviceIo::NotOpen(const Segment& segment, Try* t) const {
  const std::string what =
      absl::StrCat(wire::OpName(segment.op), " of ", segment.count,
                   " bytes at ", segment.offset, Where(), ": ");
  const DeviceLink::Closed closed = link_->closed();
  const std::string reason = link_->reason();
  t->lost = closed != DeviceLink::Closed::kChanged;
  switch (closed) {
    case DeviceLink::Closed::kRefused:
      return rtrs::ErrnoError(
          ENOTCONN, absl::StrCat(what,
                                 "the server did not open it again after a "
                                 "lost connection: ",
                                 reason));
    case DeviceLink::Closed::kChanged:
      return rtrs::ErrnoError(
          ENOTCONN, absl::StrCat(what,
                                 "the server has another device under this "
                                 "name now: ",
                                 reason));
    default:  // also when it was opened again since the caller looked
      return rtrs::ErrnoError(
          ENOTCONN, absl::StrCat(what, "the session is disconnected", reason));
  }
}

absl::Status DeviceIo::WaitOpen(const Try& t, const absl::Status& error) const {
  for (;;) {
    const absl::Duration left = t.deadline - rtrs::Clock::System()->Now();
    if (left <= absl::ZeroDuration()) {
      return rtrs::ErrnoError(
          ETIMEDOUT, absl::StrCat(error.message(), " (waited for io_timeout=",
                                  absl::FormatDuration(io_timeout_), ")"));
    }
    if (link_->WaitOpen(t.generation, absl::Now() + std::min(left, kLook))) {
      return absl::OkStatus();
    }
    if (give_up_ && give_up_()) {
      return rtrs::ErrnoError(ESHUTDOWN,
                              absl::StrCat(error.message(),
                                           " (given up: shutting down "
                                           "or nobody waits for it)"));
    }
    RTRS_LOG_EVERY(warn, kWaitLog,
                   "requests wait for the server, up to io_timeout={}; the "
                   "first: {}",
                   io_timeout_, error.message());
  }
}

std::string DeviceIo::Where() const {
  return absl::StrCat(", device ", info_->device_path, " of session ",
                      info_->sessname);
}

absl::Time DeviceIo::Deadline() const {
  if (io_timeout_ == absl::InfiniteDuration()) return absl::InfiniteFuture();
  return rtrs::Clock::System()->Now() + io_timeout_;
}

}  // namespace rnbd::gateway
