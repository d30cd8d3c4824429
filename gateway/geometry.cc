#include "gateway/geometry.h"

#include <errno.h>

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/wire/capabilities.h"

namespace rnbd::gateway {
namespace {

using rtrs::wire::Capabilities;

// The byte count of an IO message has 32 bits; this is the largest multiple of
// every block size.
constexpr uint64_t kMaxCount = 1u << 31;

uint64_t RoundDown(uint64_t v, uint64_t unit) { return v - v % unit; }

absl::Status BadAnswer(const DeviceInfo& info, absl::string_view what) {
  return rtrs::ErrnoError(
      EPROTO, absl::StrCat("device ", info.device_path, " of session ",
                           info.sessname, ": the server announced ", what));
}

uint64_t WriteZeroesLimit(const wire::OpenRsp& rsp, const Capabilities& peer,
                          WriteZeroesChoice choice, uint32_t block) {
  const uint64_t limit =
      uint64_t{rsp.max_write_zeroes_sectors} * wire::kSectorSize;
  switch (choice) {
    case WriteZeroesChoice::kNo:
      return 0;
    case WriteZeroesChoice::kAuto:
      if (!peer.Has(Capabilities::kWriteZeroes)) return 0;
      break;
    case WriteZeroesChoice::kYes:
      break;
  }
  return RoundDown(std::min(limit, kMaxCount), block);
}

}  // namespace

absl::Status ApplyOpenRsp(const wire::OpenRsp& rsp,
                          const rtrs::client::SessionLimits& limits,
                          WriteZeroesChoice write_zeroes, DeviceInfo* info) {
  const uint32_t block = rsp.logical_block_size;
  if (block < wire::kSectorSize || !std::has_single_bit(block)) {
    return BadAnswer(*info, absl::StrCat("a logical block size of ", block,
                                         " bytes, not a power of two from 512 "
                                         "on"));
  }
  if (rsp.nsectors > (uint64_t{1} << 63) / wire::kSectorSize - 1) {
    return BadAnswer(*info, absl::StrCat(rsp.nsectors,
                                         " sectors of 512 bytes, "
                                         "past 2^63 bytes"));
  }
  if (limits.max_io_size < block) {
    return BadAnswer(*info, absl::StrCat("blocks of ", block,
                                         " bytes, but a max_io_size of ",
                                         limits.max_io_size));
  }
  info->logical_block_size = block;
  info->size = RoundDown(rsp.nsectors * wire::kSectorSize, block);
  const uint32_t physical = rsp.physical_block_size;
  info->physical_block_size =
      std::has_single_bit(physical) && physical > block ? physical : block;
  info->max_io_size =
      static_cast<uint32_t>(RoundDown(limits.max_io_size, block));
  info->max_discard = uint64_t{rsp.max_discard_sectors} * wire::kSectorSize;
  info->discard_granularity = std::max(rsp.discard_granularity, block);
  if (info->discard_granularity % block != 0) {
    RTRS_LOG(warn,
             "device {} of session {}: discard granularity {} is no multiple "
             "of the block size {}, discard is not used",
             info->device_path, info->sessname, info->discard_granularity,
             block);
    info->max_discard = 0;
  }
  info->discard_alignment = rsp.discard_alignment % info->discard_granularity;
  if (info->discard_alignment % block != 0) info->discard_alignment = 0;
  if (DiscardStep(*info) == 0) info->max_discard = 0;
  info->write_back = (rsp.cache_policy & wire::OpenRsp::kWriteBack) != 0;
  info->fua = (rsp.cache_policy & wire::OpenRsp::kFua) != 0;
  info->rotational = rsp.rotational;
  info->max_write_zeroes =
      WriteZeroesLimit(rsp, limits.capabilities, write_zeroes, block);
  info->write_verifier = limits.capabilities.Has(Capabilities::kWriteVerifier)
                             ? rsp.write_verifier
                             : 0;
  return absl::OkStatus();
}

ByteRange WholeDiscardUnits(const DeviceInfo& info, uint64_t offset,
                            uint32_t count) {
  const uint64_t unit = info.discard_granularity;
  const uint64_t first = info.discard_alignment;
  const uint64_t end = offset + count;
  ByteRange range;
  if (end <= first) return range;
  // Distances from the first unit, so that nothing goes below zero.
  const uint64_t from = offset > first ? offset - first : 0;
  const uint64_t rest = from % unit;
  range.begin = first + from + (rest == 0 ? 0 : unit - rest);
  range.end = first + RoundDown(end - first, unit);
  return range;
}

uint32_t DiscardStep(const DeviceInfo& info) {
  if (info.discard_granularity == 0) return 0;
  return static_cast<uint32_t>(RoundDown(std::min(info.max_discard, kMaxCount),
                                         info.discard_granularity));
}

}  // namespace rnbd::gateway
