#include "gateway/mapped_device.h"

#include <errno.h>
#include <string.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/status_macros.h"

namespace rnbd::gateway {
namespace {

// Unaligned requests up to this size go through one buffer and one request;
// larger ones keep their whole blocks in the caller's buffer.
constexpr uint64_t kBounce = 65536;

}  // namespace

MappedDevice::MappedDevice(rtrs::client::BlockingSession* session,
                           std::shared_ptr<DeviceLink> link, DeviceInfo info,
                           const GatewayOptions& options,
                           absl::AnyInvocable<void()> on_destroy)
    : info_(std::move(info)),
      block_mask_(info_.logical_block_size - 1),
      link_(std::move(link)),
      io_(session, link_.get(), &info_, options),
      on_destroy_(std::move(on_destroy)) {}

MappedDevice::~MappedDevice() { on_destroy_(); }

DeviceInfo MappedDevice::info() const {
  DeviceInfo info = info_;
  info.size = link_->size();
  return info;
}

absl::Status MappedDevice::Read(void* buffer, uint32_t count, uint64_t offset,
                                uint32_t affinity) {
  RTRS_RETURN_IF_ERROR(CheckRange("read", EINVAL, count, offset));
  auto* const data = static_cast<uint8_t*>(buffer);
  if (!Aligned(count, offset)) {
    return ReadUnaligned(data, count, offset, affinity);
  }
  if (count == 0) return absl::OkStatus();
  const Segment segment = ReadSegment(data, offset, offset + count);
  return io_.Run(absl::MakeConstSpan(&segment, 1), affinity);
}

absl::Status MappedDevice::Write(const void* buffer, uint32_t count,
                                 uint64_t offset, bool fua, uint32_t affinity) {
  RTRS_RETURN_IF_ERROR(CheckWritable("write"));
  RTRS_RETURN_IF_ERROR(CheckRange("write", ENOSPC, count, offset));
  const auto* const data = static_cast<const uint8_t*>(buffer);
  const uint32_t flags = WriteFlags(fua);
  const Written written = {count, link_->losses(), fua, fua && info_.fua};
  absl::Status status;
  if (!Aligned(count, offset)) {
    status = WriteUnaligned(data, count, offset, flags, affinity);
  } else if (count != 0) {
    status =
        RunGuarded(WriteSegment(data, offset, offset + count, flags), affinity);
  }
  return FinishWrite(std::move(status), written, affinity);
}

absl::Status MappedDevice::Flush(uint32_t affinity) {
  const uint32_t losses = link_->losses();
  const uint64_t covered = link_->BeginFlush();
  Segment segment;
  segment.op = wire::Op::kFlush;
  // The kernel sets SYNC and FUA on each flush, PREFLUSH since 7.0.
  segment.flags = wire::Io::kSync | wire::Io::kFua | wire::Io::kPreflush;
  absl::Status status = io_.Run(absl::MakeConstSpan(&segment, 1), affinity);
  if (!status.ok()) {
    link_->NoteUnflushed(covered, losses);
    return status;
  }
  // The server that flushed may not be the one that had answered the writes.
  if (link_->losses() != losses) link_->NoteLost(covered);
  return LostWrites(link_->TakeLost());
}

absl::Status MappedDevice::Trim(uint32_t count, uint64_t offset, bool fua,
                                uint32_t affinity) {
  RTRS_RETURN_IF_ERROR(CheckWritable("trim"));
  RTRS_RETURN_IF_ERROR(CheckRange("trim", EINVAL, count, offset));
  if (info_.max_discard == 0) {
    return rtrs::ErrnoError(
        EOPNOTSUPP,
        absl::StrCat("trim: device ", info_.device_path, " of session ",
                     info_.sessname, " has no discard"));
  }
  const ByteRange range = WholeDiscardUnits(info_, offset, count);
  const Written written = {count, link_->losses(), fua, false};
  absl::Status status;
  if (!range.empty()) {
    Segment segment;
    segment.op = wire::Op::kDiscard;
    segment.offset = range.begin;
    segment.count = range.end - range.begin;
    segment.max_part = DiscardStep(info_);
    status = io_.Run(absl::MakeConstSpan(&segment, 1), affinity);
  }
  return FinishWrite(std::move(status), written, affinity);
}

absl::Status MappedDevice::Zero(uint32_t count, uint64_t offset,
                                ZeroFlags flags, uint32_t affinity) {
  RTRS_RETURN_IF_ERROR(CheckWritable("zero"));
  RTRS_RETURN_IF_ERROR(CheckRange("zero", ENOSPC, count, offset));
  const bool as_data = info_.max_write_zeroes == 0;
  if (as_data && flags.fast) {
    return rtrs::ErrnoError(
        EOPNOTSUPP,
        absl::StrCat("zero: device ", info_.device_path, " of session ",
                     info_.sessname, " has no fast way to write zeroes"));
  }
  if (count == 0) return absl::OkStatus();
  // Operation 5 with FUA is an error in Linux block layers: flush instead.
  const uint32_t io_flags = as_data ? WriteFlags(flags.fua) : 0;
  const uint64_t end = offset + count;
  const ByteRange inner = Inner(count, offset);
  const Written written = {count, link_->losses(), flags.fua,
                           flags.fua && as_data && info_.fua};
  absl::Status status;
  if (inner.empty()) {
    status = WriteUnaligned(Zeroes(), count, offset, io_flags, affinity);
  } else {
    status = ZeroWholeBlocks(inner, flags, io_flags, affinity);
    if (status.ok() && offset < inner.begin) {
      status =
          WriteUnaligned(Zeroes(), static_cast<uint32_t>(inner.begin - offset),
                         offset, io_flags, affinity);
    }
    if (status.ok() && inner.end < end) {
      status = WriteUnaligned(Zeroes(), static_cast<uint32_t>(end - inner.end),
                              inner.end, io_flags, affinity);
    }
  }
  return FinishWrite(std::move(status), written, affinity);
}

absl::Status MappedDevice::CheckRange(const char* what, int error,
                                      uint32_t count, uint64_t offset) const {
  const uint64_t size = link_->size();
  if (offset <= size && count <= size - offset) return absl::OkStatus();
  const std::string mapped =
      size == info_.size
          ? ""
          : absl::StrCat(" now, it had ", info_.size, " when it was mapped");
  return rtrs::ErrnoError(
      error, absl::StrCat(what, " of ", count, " bytes at ", offset,
                          ": device ", info_.device_path, " of session ",
                          info_.sessname, " has ", size, " bytes", mapped));
}

absl::Status MappedDevice::CheckWritable(const char* what) const {
  if (info_.access_mode != wire::AccessMode::kRo) return absl::OkStatus();
  return rtrs::ErrnoError(
      EROFS, absl::StrCat(what, ": device ", info_.device_path, " of session ",
                          info_.sessname, " is mapped with access_mode=ro"));
}

ByteRange MappedDevice::Outer(uint32_t count, uint64_t offset) const {
  // The size is a multiple of the block size, so this stays inside.
  return {offset & ~block_mask_, (offset + count + block_mask_) & ~block_mask_};
}

ByteRange MappedDevice::Inner(uint32_t count, uint64_t offset) const {
  return {(offset + block_mask_) & ~block_mask_,
          (offset + count) & ~block_mask_};
}

Segment MappedDevice::ReadSegment(uint8_t* data, uint64_t begin,
                                  uint64_t end) const {
  Segment segment;
  segment.op = wire::Op::kRead;
  segment.flags = wire::Io::kSync;
  segment.data = data;
  segment.offset = begin;
  segment.count = end - begin;
  segment.max_part = info_.max_io_size;
  return segment;
}

Segment MappedDevice::WriteSegment(const uint8_t* data, uint64_t begin,
                                   uint64_t end, uint32_t flags) const {
  Segment segment;
  segment.op = wire::Op::kWrite;
  segment.flags = flags;
  // A write request only reads its data.
  segment.data = const_cast<uint8_t*>(data);
  segment.offset = begin;
  segment.count = end - begin;
  segment.max_part = info_.max_io_size;
  return segment;
}

absl::Status MappedDevice::ReadUnaligned(uint8_t* buffer, uint32_t count,
                                         uint64_t offset, uint32_t affinity) {
  const ByteRange outer = Outer(count, offset);
  const ByteRange inner = Inner(count, offset);
  const uint64_t end = offset + count;
  if (outer.end - outer.begin <= kBounce || inner.empty()) {
    std::vector<uint8_t> bounce(outer.end - outer.begin);
    const Segment segment = ReadSegment(bounce.data(), outer.begin, outer.end);
    RTRS_RETURN_IF_ERROR(io_.Run(absl::MakeConstSpan(&segment, 1), affinity));
    memcpy(buffer, bounce.data() + (offset - outer.begin), count);
    return absl::OkStatus();
  }
  const uint64_t block = info_.logical_block_size;
  std::vector<uint8_t> edges(2 * block);
  uint8_t* const head = edges.data();
  uint8_t* const tail = edges.data() + block;
  // Edges that are whole blocks leave an empty segment.
  const Segment segments[] = {
      ReadSegment(head, outer.begin, inner.begin),
      ReadSegment(buffer + (inner.begin - offset), inner.begin, inner.end),
      ReadSegment(tail, inner.end, outer.end)};
  RTRS_RETURN_IF_ERROR(io_.Run(segments, affinity));
  memcpy(buffer, head + (offset - outer.begin), inner.begin - offset);
  memcpy(buffer + (inner.end - offset), tail, end - inner.end);
  return absl::OkStatus();
}

absl::Status MappedDevice::WriteUnaligned(const uint8_t* buffer, uint32_t count,
                                          uint64_t offset, uint32_t flags,
                                          uint32_t affinity) {
  const uint64_t block = info_.logical_block_size;
  const ByteRange outer = Outer(count, offset);
  const uint64_t end = offset + count;
  const bool head_partial = offset != outer.begin;
  const bool tail_partial = end != outer.end;
  const uint64_t first_end = outer.begin + block;
  const uint64_t last_begin = outer.end - block;
  RmwGuard::Lock lock(&guard_, outer.begin, outer.end, RmwGuard::kRmw);

  const bool one_buffer = outer.end - outer.begin <= kBounce;
  std::vector<uint8_t> bounce(one_buffer ? outer.end - outer.begin : 2 * block);
  uint8_t* const first = bounce.data();
  uint8_t* const last = bounce.data() + bounce.size() - block;
  // With a single block, first and last are the same.
  const bool read_last =
      tail_partial && (last_begin != outer.begin || !head_partial);
  const Segment reads[] = {
      ReadSegment(first, outer.begin, head_partial ? first_end : outer.begin),
      ReadSegment(last, last_begin, read_last ? outer.end : last_begin)};
  RTRS_RETURN_IF_ERROR(io_.Run(reads, affinity));

  if (one_buffer) {
    memcpy(bounce.data() + (offset - outer.begin), buffer, count);
    const Segment write =
        WriteSegment(bounce.data(), outer.begin, outer.end, flags);
    return io_.Run(absl::MakeConstSpan(&write, 1), affinity);
  }
  const uint64_t begin_whole = head_partial ? first_end : outer.begin;
  const uint64_t end_whole = tail_partial ? last_begin : outer.end;
  if (head_partial) {
    memcpy(first + (offset - outer.begin), buffer, first_end - offset);
  }
  if (tail_partial) {
    memcpy(last, buffer + (last_begin - offset), end - last_begin);
  }
  const Segment writes[] = {
      WriteSegment(first, outer.begin, begin_whole, flags),
      WriteSegment(buffer + (begin_whole - offset), begin_whole, end_whole,
                   flags),
      WriteSegment(last, end_whole, outer.end, flags)};
  return io_.Run(writes, affinity);
}

absl::Status MappedDevice::RunGuarded(const Segment& segment,
                                      uint32_t affinity) {
  const absl::Span<const Segment> segments = absl::MakeConstSpan(&segment, 1);
  const uint64_t end = segment.offset + segment.count;
  const uint64_t seen = guard_.Begin();
  absl::Status status = io_.Run(segments, affinity);
  if (!guard_.Disturbed(seen, segment.offset, end) || !status.ok()) {
    return status;
  }
  RmwGuard::Lock lock(&guard_, segment.offset, end, RmwGuard::kWhole);
  return io_.Run(segments, affinity);
}

absl::Status MappedDevice::ZeroWholeBlocks(ByteRange range, ZeroFlags flags,
                                           uint32_t io_flags,
                                           uint32_t affinity) {
  Segment segment = WriteSegment(nullptr, range.begin, range.end, io_flags);
  if (info_.max_write_zeroes != 0) {
    segment.op = wire::Op::kWriteZeroes;
    segment.max_part = static_cast<uint32_t>(info_.max_write_zeroes);
    if (!flags.may_trim) segment.flags |= wire::Io::kNoUnmap;
  } else {
    segment.data = const_cast<uint8_t*>(Zeroes());
    segment.repeat_data = true;
  }
  return RunGuarded(segment, affinity);
}

uint32_t MappedDevice::WriteFlags(bool fua) const {
  return wire::Io::kSync | (fua && info_.fua ? wire::Io::kFua : 0);
}

absl::Status MappedDevice::FinishWrite(absl::Status status,
                                       const Written& written,
                                       uint32_t affinity) {
  if (!status.ok()) return status;
  if (!written.stable) {
    link_->NoteUnflushed(written.count, written.losses);
    return written.fua ? Flush(affinity) : absl::OkStatus();
  }
  return LostWrites(link_->TakeLost());
}

absl::Status MappedDevice::LostWrites(uint64_t bytes) const {
  if (bytes == 0) return absl::OkStatus();
  return rtrs::ErrnoError(
      EIO,
      absl::StrCat("flush: device ", info_.device_path, " of session ",
                   info_.sessname, ": the server went away with ", bytes,
                   " bytes that it had answered and not flushed; they may be "
                   "lost"));
}

const uint8_t* MappedDevice::Zeroes() {
  // Enough for one request, and for a range that contains no whole block.
  absl::call_once(zeroes_once_, [this] {
    zeroes_.resize(std::max(info_.max_io_size, 2 * info_.logical_block_size));
  });
  return zeroes_.data();
}

}  // namespace rnbd::gateway
