// What a device is, whatever its name: a block device by its number, a regular
// file by file system and inode.
#ifndef SERVER_DEVICE_KEY_H_
#define SERVER_DEVICE_KEY_H_

#include <sys/stat.h>

#include <cstdint>
#include <utility>

namespace rnbd::server {

struct DeviceKey {
  static DeviceKey Of(const struct stat& st, bool block_device) {
    DeviceKey key;
    key.block_device = block_device;
    key.device = block_device ? st.st_rdev : st.st_dev;
    key.inode = block_device ? 0 : st.st_ino;
    return key;
  }

  bool block_device = false;
  uint64_t device = 0;
  uint64_t inode = 0;

  friend bool operator==(const DeviceKey&, const DeviceKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const DeviceKey& k) {
    return H::combine(std::move(h), k.block_device, k.device, k.inode);
  }
};

}  // namespace rnbd::server

#endif  // SERVER_DEVICE_KEY_H_
