#include "gateway/gateway.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/fabric_choice.h"
#include "gateway/rnbd_session.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/base/log.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/client/blocking_session.h"

namespace rnbd::gateway {
namespace {

// How long a fabric that is only one of several may take to connect.
constexpr absl::Duration kProbeTime = absl::Seconds(10);

// `probe`: another fabric is tried if nobody answers on this one.
absl::StatusOr<std::shared_ptr<Gateway>> OpenOver(FabricChoice choice,
                                                  const GatewayOptions& options,
                                                  bool probe) {
  RTRS_ASSIGN_OR_RETURN(auto fabric,
                        MakeFabric(choice, options.crc, options.paths));
  rtrs::client::SessionOptions session_options;
  session_options.sessname = options.sessname;
  session_options.paths = options.paths;
  session_options.mp_policy = options.mp_policy;
  session_options.heartbeat_interval = options.heartbeat_interval;
  rtrs::fabric::Fabric* const borrowed = fabric.get();
  const std::string device = fabric->device().name;
  RTRS_ASSIGN_OR_RETURN(std::shared_ptr<Gateway> gateway,
                        RnbdSession::Open(options, std::move(fabric), [&] {
                          rtrs::client::SessionOptions once = session_options;
                          if (probe) once.connect_timeout = kProbeTime;
                          return rtrs::client::BlockingSession::Open(
                              borrowed, std::move(once));
                        }));
  RTRS_LOG(info, "session {}: runs over {}{}", options.sessname,
           FabricChoiceName(choice),
           device == FabricChoiceName(choice)
               ? ""
               : absl::StrCat(", RDMA device ", device));
  return gateway;
}

}  // namespace

absl::StatusOr<std::shared_ptr<Gateway>> Gateway::Open(GatewayOptions options) {
  RTRS_RETURN_IF_ERROR(CheckGatewayOptions(options));
  const std::vector<FabricChoice> choices = FabricsToTry(options.fabric);
  std::string tried;
  for (size_t i = 0; i < choices.size(); ++i) {
    bool last = i + 1 == choices.size();
    absl::StatusOr<std::shared_ptr<Gateway>> gateway =
        OpenOver(choices[i], options, !last);
    if (gateway.ok()) return gateway;
    last = last || !MayTryNextFabric(gateway.status());
    if (last && tried.empty()) return gateway;
    const std::string name =
        absl::StrCat("over ", FabricChoiceName(choices[i]));
    if (last) {
      return rtrs::Annotate(gateway.status(), absl::StrCat(tried, name));
    }
    absl::StrAppend(&tried, name, ": ", gateway.status().message(), "; ");
    RTRS_LOG(info, "session {}: not {}: {}", options.sessname, name,
             gateway.status());
  }
  return absl::InternalError("no fabric to try");
}

}  // namespace rnbd::gateway
