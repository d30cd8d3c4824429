#include "gateway/gateway.h"

#include <memory>
#include <utility>

#include "gateway/fabric_choice.h"
#include "gateway/rnbd_session.h"
#include "rtrs/base/status_macros.h"
#include "rtrs/client/blocking_session.h"

namespace rnbd::gateway {

absl::StatusOr<std::shared_ptr<Gateway>> Gateway::Open(GatewayOptions options) {
  RTRS_RETURN_IF_ERROR(CheckGatewayOptions(options));
  RTRS_ASSIGN_OR_RETURN(auto fabric, MakeFabric(options.fabric, options.crc));
  rtrs::client::SessionOptions session_options;
  session_options.sessname = options.sessname;
  session_options.paths = options.paths;
  rtrs::fabric::Fabric* const borrowed = fabric.get();
  return RnbdSession::Open(std::move(options), std::move(fabric), [&] {
    return rtrs::client::BlockingSession::Open(borrowed, session_options);
  });
}

}  // namespace rnbd::gateway
