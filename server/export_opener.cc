#include "server/export_opener.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "server/geometry.h"
#include "server/in_use.h"

namespace rnbd::server {
namespace {

#ifndef BLKGETDISKSEQ
#define BLKGETDISKSEQ _IOR(0x12, 128, __u64)
#endif

// A number that differs when another disk or file has taken the place: the
// device number or the inode may be the same.
uint64_t IncarnationOf(int fd, bool block_device) {
  if (block_device) {
    uint64_t sequence = 0;
    return ioctl(fd, BLKGETDISKSEQ, &sequence) == 0 ? sequence : 0;
  }
  struct statx sx {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &sx) != 0) return 0;
  return static_cast<uint64_t>(sx.stx_btime.tv_sec) * 1'000'000'000 +
         sx.stx_btime.tv_nsec;
}

// Makes `fd` do direct I/O, if the file system can.
bool TurnOnDirect(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
}

// Offsets that direct I/O on the file must be aligned to, 0 if unknown.
uint32_t DirectAlignment(int fd) {
#ifdef STATX_DIOALIGN
  struct statx sx {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
      (sx.stx_mask & STATX_DIOALIGN) != 0) {
    return sx.stx_dio_offset_align;
  }
#else
  static_cast<void>(fd);
#endif
  return 0;
}

void ChooseDirect(int fd, IoMode io, Geometry* geometry) {
  if (io == IoMode::kBuffered || io == IoMode::kQueued ||
      geometry->memory_backed) {
    return;
  }
  if (io == IoMode::kAuto && !geometry->block_device) return;
  if (!TurnOnDirect(fd)) return;
  geometry->direct = true;
  if (geometry->block_device) return;
  const uint32_t alignment = DirectAlignment(fd);
  if (alignment > geometry->logical_block_size && alignment <= 4096) {
    geometry->logical_block_size = alignment;
    geometry->physical_block_size =
        std::max(geometry->physical_block_size, alignment);
    geometry->size = geometry->size / alignment * alignment;
  }
}

InlineIo ChooseInline(IoMode io, const Geometry& geometry) {
  if (io == IoMode::kQueued) return InlineIo::kNever;
  if (geometry.memory_backed) return InlineIo::kAlways;
  return geometry.direct ? InlineIo::kNever : InlineIo::kNowait;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OpenDevice>> ExportOpener::Open(
    const std::string& session_name, const std::string& device_name,
    wire::AccessMode mode,
    const std::function<bool(const DeviceKey&)>& is_open) const {
  RTRS_ASSIGN_OR_RETURN(OpenedExport opened,
                        paths_->Open(session_name, device_name, mode));
  auto device = std::make_unique<OpenDevice>();
  device->name = device_name;
  device->path = opened.path;
  device->mode = mode;
  device->session_name = session_name;

  const DeviceKey key = DeviceKey::Of(opened.st, opened.block_device);
  const std::string shown = absl::CHexEscape(opened.path);
  if (is_open(key)) {
    return rtrs::Annotate(
        rtrs::ErrnoError(EEXIST, "this session has it open by another name"),
        shown);
  }
  absl::StatusOr<std::shared_ptr<SharedDevice>> shared =
      registry_->Admit(key, mode, session_name);
  if (!shared.ok()) return rtrs::Annotate(shared.status(), shown);
  device->registry = registry_;
  device->shared = *std::move(shared);
  device->ForgiveLostWrites();

  const int fd = opened.fd.get();
  absl::StatusOr<Geometry> geometry =
      opened.block_device ? BlockDeviceGeometry(fd, opened.st.st_rdev, sysfs_)
                          : FileGeometry(fd, device->writable());
  if (!geometry.ok()) return rtrs::Annotate(geometry.status(), shown);
  ChooseDirect(fd, io_, &*geometry);
  if (geometry->size == 0) {
    return rtrs::Annotate(rtrs::ErrnoError(ENXIO, "has no block at all"),
                          shown);
  }
  if (device->writable()) WarnIfInUse(opened);
  if (!opened.block_device &&
      geometry->size != static_cast<uint64_t>(opened.st.st_size)) {
    RTRS_LOG(warn,
             "{}: {} bytes are not a whole number of blocks, the last {} "
             "cannot be reached",
             shown, opened.st.st_size,
             static_cast<uint64_t>(opened.st.st_size) - geometry->size);
  }
  device->incarnation = IncarnationOf(fd, opened.block_device);
  device->backing = std::make_unique<Backing>(opened.fd.Release(), *geometry,
                                              ChooseInline(io_, *geometry));
  return device;
}

}  // namespace rnbd::server
