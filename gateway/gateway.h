// The RNBD client of a process: sessions by name, devices mapped in them.
//
//   RTRS_ASSIGN_OR_RETURN(auto gateway, Gateway::Open(options));
//   RTRS_ASSIGN_OR_RETURN(auto device, gateway->Map("disk0", AccessMode::kRw));
//   device->Read(...);
//
// A device lives on the server from its first Map until its last owner lets
// go. After the session lost all paths and came back, session info and devices
// are exchanged again by themselves; until then requests wait, up to
// io_timeout, or fail (fail_fast). A device that has changed meanwhile is not
// used any more.
//
// wire.md §7. Any thread.
#ifndef GATEWAY_GATEWAY_H_
#define GATEWAY_GATEWAY_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gateway/block_device.h"
#include "rtrs/client/options.h"
#include "rtrs/client/session.h"
#include "rtrs/wire/rnbd_messages.h"

namespace rnbd::gateway {

enum class FabricChoice { kAuto, kVerbs, kSoftiwarp, kSoftroce };
absl::StatusOr<FabricChoice> ParseFabricChoice(absl::string_view text);

enum class CrcChoice { kAuto, kOn, kOff };
absl::StatusOr<CrcChoice> ParseCrcChoice(absl::string_view text);

// The kernel's names, short names and numbers.
absl::StatusOr<rtrs::client::MultipathPolicy> ParseMultipathPolicy(
    absl::string_view text);

enum class WriteZeroesChoice { kAuto, kYes, kNo };

struct GatewayOptions {
  std::string sessname;
  std::vector<rtrs::PathSpec> paths;
  FabricChoice fabric = FabricChoice::kAuto;
  CrcChoice crc = CrcChoice::kAuto;
  // How long one request may take, reconnects included; Infinite: for ever.
  absl::Duration io_timeout = absl::Seconds(180);
  bool fail_fast = false;  // no waiting while no path is up
  // Asked a few times a second by each request that waits for a path, in its
  // thread; true: it fails with ESHUTDOWN. Must not block. Empty: never.
  std::function<bool()> give_up;
  rtrs::client::MultipathPolicy mp_policy =
      rtrs::client::MultipathPolicy::kMinInflight;
  absl::Duration heartbeat_interval = absl::Seconds(5);
  // How often a device that the server refuses to open again is asked for.
  absl::Duration reopen_interval = absl::Seconds(2);
  // Operation 5: to servers that announced it, to all (the user knows that the
  // server is Linux 6.8 or later; wire.md trap 40), or to none.
  WriteZeroesChoice write_zeroes = WriteZeroesChoice::kAuto;
  // How long a session name that seems to be in use is tried again, and the
  // pause between two tries. `pause` waits that long; false: give up. Empty:
  // sleeps.
  absl::Duration name_in_use_timeout = absl::Seconds(60);
  absl::Duration name_in_use_interval = absl::Seconds(3);
  std::function<bool(absl::Duration)> pause;
};
// What can be said without a connection: names, lengths, kinds of address. The
// error names parameter and value.
absl::Status CheckGatewayOptions(const GatewayOptions& options);
absl::Status CheckSessname(absl::string_view sessname);
absl::Status CheckDevicePath(absl::string_view device_path);

// One session. Devices keep it alive.
class Gateway {
 public:
  // Connects, exchanges session info, and waits for it. Not before a fork.
  static absl::StatusOr<std::shared_ptr<Gateway>> Open(GatewayOptions options);
  virtual ~Gateway() = default;

  // Opens `device_path` on the server, or counts one more user of it if it is
  // mapped here already (another access mode is then refused with EEXIST).
  virtual absl::StatusOr<std::shared_ptr<BlockDevice>> Map(
      absl::string_view device_path, wire::AccessMode mode) = 0;

  // Paths at run time; see rtrs::client::Session.
  virtual absl::Status ChangePath(rtrs::client::PathChange change,
                                  const rtrs::PathSpec& path) = 0;
  virtual std::vector<rtrs::client::PathInfo> paths() const = 0;
};

}  // namespace rnbd::gateway

#endif  // GATEWAY_GATEWAY_H_
