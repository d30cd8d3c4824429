// The parameters of the plugin, from nbdkit's key=value pairs to what the
// gateway takes. Nothing here connects: all of it runs before nbdkit forks.
//
// One thread. Errors name parameter and value.
#ifndef NBDKIT_PLUGIN_CONFIG_H_
#define NBDKIT_PLUGIN_CONFIG_H_

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "gateway/gateway.h"

namespace rnbd::plugin {

// Text of nbdkit's --help.
extern const char kConfigHelp[];

// "90", "90s", "3m", "1h30m"; 0 is for ever.
absl::StatusOr<absl::Duration> ParseIoTimeout(absl::string_view text);
// The same forms.
absl::StatusOr<absl::Duration> ParseHeartbeatInterval(absl::string_view text);

class Config {
 public:
  // Takes one parameter. All but path= may be given once.
  absl::Status Set(absl::string_view key, absl::string_view value);
  // After the last one: what is missing, and what does not fit together.
  absl::Status Complete();

  // Valid after Complete.
  const gateway::GatewayOptions& options() const { return options_; }
  // Empty: the NBD export name is the device path.
  const std::string& device_path() const { return device_path_; }
  // For a client of a server that was started with or without -r.
  wire::AccessMode access_mode(bool readonly) const;

 private:
  absl::Status SetOnce(absl::string_view key, absl::string_view value);
  absl::Status SetPort(absl::string_view value);

  gateway::GatewayOptions options_;
  std::set<std::string> seen_;
  std::vector<std::string> paths_;  // parsed when the port is known
  uint16_t dest_port_ = 1234;
  std::string device_path_;
  std::optional<wire::AccessMode> access_mode_;
};

}  // namespace rnbd::plugin

#endif  // NBDKIT_PLUGIN_CONFIG_H_
