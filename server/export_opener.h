// OPEN, once the message is decoded: from a name to an open device with its
// rights and limits. wire.md §7.3.
#ifndef SERVER_EXPORT_OPENER_H_
#define SERVER_EXPORT_OPENER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/device_registry.h"
#include "server/device_table.h"
#include "server/export_path.h"
#include "server/size_watch.h"

namespace rnbd::server {

// --io: how files and devices are read and written.
enum class IoMode {
  kAuto,      // block devices O_DIRECT, files through the page cache
  kDirect,    // O_DIRECT wherever it is possible
  kBuffered,  // through the page cache
  kQueued,    // through the page cache, and always by the engine (simulation)
};

// Any thread. Everything borrowed outlives it.
class ExportOpener {
 public:
  // Limits of block devices are read below `sysfs` ("/sys").
  ExportOpener(const ExportPath* paths, DeviceRegistry* registry, IoMode io,
               std::string sysfs)
      : paths_(paths), registry_(registry), io_(io), sysfs_(std::move(sysfs)) {}

  // Looks at the sizes of all devices that are watched.
  void LookAtSizes() const { sizes_->Look(); }
  // From now on, until it leaves the watch.
  void Watch(OpenDevice* device, SizeWatch::Tell tell) const {
    device->size_watch = sizes_.get();
    sizes_->Add(device, std::move(tell));
  }

  // `is_open` says whether the session has the device open already, under
  // another name: EEXIST. May block.
  absl::StatusOr<std::unique_ptr<OpenDevice>> Open(
      const std::string& session_name, const std::string& device_name,
      wire::AccessMode mode,
      const std::function<bool(const DeviceKey&)>& is_open) const;

  // What OPEN_RSP carries for a client that announced write verifiers.
  uint64_t WriteVerifier(const OpenDevice& device) const {
    return registry_->WriteVerifier(*device.shared, device.incarnation);
  }

 private:
  const ExportPath* const paths_;
  DeviceRegistry* const registry_;
  const IoMode io_;
  const std::string sysfs_;
  // On the heap, so that it can change in here.
  const std::unique_ptr<SizeWatch> sizes_ = std::make_unique<SizeWatch>();
};

}  // namespace rnbd::server

#endif  // SERVER_EXPORT_OPENER_H_
