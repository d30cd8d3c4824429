#include "server/geometry.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"

namespace rnbd::server {
namespace {

constexpr uint64_t kSector = wire::kSectorSize;
// Of one discard: what fits the 32-bit byte count, in whole 4 MiB.
constexpr uint32_t kMaxDiscardSectors =
    std::numeric_limits<uint32_t>::max() / kSector / 8192 * 8192;
// Of one write zeroes: it may have to be written out, so that a longer one
// would occupy a thread for too long.
constexpr uint32_t kMaxWriteZeroesSectors = (64u << 20) >> 9;

// One line of a sysfs file, without its end.
std::optional<std::string> ReadLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return std::string(absl::StripAsciiWhitespace(line));
}

std::optional<uint64_t> ReadNumber(const std::string& path) {
  const std::optional<std::string> line = ReadLine(path);
  uint64_t value = 0;
  if (!line || !absl::SimpleAtoi(*line, &value)) return std::nullopt;
  return value;
}

// Where the queue limits of `device` are: a partition has those of its disk.
std::string QueueDirectory(const std::string& sysfs, dev_t device) {
  const std::string node =
      absl::StrCat(sysfs, "/dev/block/", major(device), ":", minor(device));
  const std::string own = absl::StrCat(node, "/queue/");
  return access(own.c_str(), F_OK) == 0 ? own
                                        : absl::StrCat(node, "/../queue/");
}

uint32_t ClampSectors(uint64_t bytes) {
  return static_cast<uint32_t>(
      std::min<uint64_t>(bytes / kSector, kMaxDiscardSectors));
}

template <typename T>
T Saturate(uint64_t value) {
  return static_cast<T>(
      std::min<uint64_t>(value, std::numeric_limits<T>::max()));
}

bool IsPowerOfTwo(uint64_t v) { return v != 0 && (v & (v - 1)) == 0; }

}  // namespace

absl::StatusOr<Geometry> FileGeometry(int fd, bool writable) {
  struct stat st {};
  struct statfs fs {};
  if (fstat(fd, &st) != 0 || fstatfs(fd, &fs) != 0) {
    return rtrs::ErrnoError(errno, "fstat");
  }
  Geometry g;
  g.size = static_cast<uint64_t>(st.st_size) / kSector * kSector;
  g.memory_backed = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
  g.max_write_zeroes_sectors = kMaxWriteZeroesSectors;
  const uint32_t block = Saturate<uint32_t>(st.st_blksize);
  if (IsPowerOfTwo(block)) {
    g.physical_block_size = std::clamp<uint32_t>(block, 512, 4096);
  }
  if (writable) {
    const off_t beyond = (st.st_size | 0xffff) + 1;
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, beyond,
                  4096) == 0) {
      g.max_discard_sectors = kMaxDiscardSectors;
      g.discard_granularity = std::max<uint32_t>(g.physical_block_size, block);
    }
  }
  return g;
}

absl::StatusOr<Geometry> BlockDeviceGeometry(int fd, dev_t device,
                                             const std::string& sysfs) {
  Geometry g;
  g.block_device = true;
  const off_t end = lseek(fd, 0, SEEK_END);
  if (end < 0) return rtrs::ErrnoError(errno, "size of the block device");
  const std::string queue = QueueDirectory(sysfs, device);
  auto number = [&queue](absl::string_view name) {
    return ReadNumber(absl::StrCat(queue, name));
  };
  int logical = 512;
  ioctl(fd, BLKSSZGET, &logical);
  unsigned int physical = 0;
  ioctl(fd, BLKPBSZGET, &physical);
  const uint64_t logical_size =
      number("logical_block_size").value_or(static_cast<uint64_t>(logical));
  if (!IsPowerOfTwo(logical_size) || logical_size < kSector ||
      logical_size > 32768) {
    return rtrs::ErrnoError(
        EINVAL, absl::StrCat("logical block size ", logical_size,
                             " of the block device cannot be served"));
  }
  g.logical_block_size = static_cast<uint32_t>(logical_size);
  const uint64_t physical_size =
      number("physical_block_size").value_or(physical);
  g.physical_block_size = IsPowerOfTwo(physical_size) && physical_size <= 32768
                              ? static_cast<uint32_t>(physical_size)
                              : 0;
  g.physical_block_size = std::max(g.physical_block_size, g.logical_block_size);
  g.size = static_cast<uint64_t>(end) / logical_size * logical_size;
  g.max_hw_sectors =
      Saturate<uint32_t>(number("max_hw_sectors_kb").value_or(0) * 2);
  g.max_segments = Saturate<uint16_t>(number("max_segments").value_or(0));
  g.max_discard_sectors = ClampSectors(number("discard_max_bytes").value_or(0));
  if (g.max_discard_sectors != 0) {
    // A client's block layer refuses a discard limit without granularity.
    g.discard_granularity =
        std::max(Saturate<uint32_t>(number("discard_granularity").value_or(0)),
                 g.logical_block_size);
    g.discard_alignment = Saturate<uint32_t>(
        ReadNumber(absl::StrCat(sysfs, "/dev/block/", major(device), ":",
                                minor(device), "/discard_alignment"))
            .value_or(0));
  }
  // The kernel writes zeroes itself where the device cannot.
  g.max_write_zeroes_sectors = kMaxWriteZeroesSectors;
  g.rotational = number("rotational").value_or(0) != 0;
  g.write_back =
      ReadLine(absl::StrCat(queue, "write_cache")).value_or("write back") !=
      "write through";
  return g;
}

wire::OpenRsp ToOpenRsp(const Geometry& g, bool writable) {
  wire::OpenRsp rsp;
  rsp.nsectors = g.size / kSector;
  rsp.max_hw_sectors = g.max_hw_sectors;
  rsp.max_segments = g.max_segments;
  rsp.physical_block_size = Saturate<uint16_t>(g.physical_block_size);
  rsp.logical_block_size = Saturate<uint16_t>(g.logical_block_size);
  rsp.rotational = g.rotational;
  if (writable) {
    rsp.max_write_zeroes_sectors = g.max_write_zeroes_sectors;
    rsp.max_discard_sectors = g.max_discard_sectors;
    rsp.discard_granularity = g.discard_granularity;
    rsp.discard_alignment = g.discard_alignment;
  }
  // The page cache is a write-back cache, whatever the device has.
  const bool write_back = g.write_back || !g.direct;
  if (write_back) rsp.cache_policy |= wire::OpenRsp::kWriteBack;
  if (write_back && g.fua) rsp.cache_policy |= wire::OpenRsp::kFua;
  return rsp;
}

}  // namespace rnbd::server
