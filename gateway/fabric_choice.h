// Which fabric a session runs over: the one place that knows them all.
//
// `auto` is softiwarp, the only fabric of this build. Any thread.
#ifndef GATEWAY_FABRIC_CHOICE_H_
#define GATEWAY_FABRIC_CHOICE_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateway/gateway.h"
#include "rtrs/base/path_spec.h"
#include "rtrs/fabric/fabric.h"

namespace rnbd::gateway {

// Whether this build has a fabric for `choice` that can reach all of `paths`.
// The error names the parameter and what there is instead.
absl::Status CheckFabricChoice(FabricChoice choice,
                               const std::vector<rtrs::PathSpec>& paths);

absl::StatusOr<std::unique_ptr<rtrs::fabric::Fabric>> MakeFabric(
    FabricChoice choice, CrcChoice crc);

}  // namespace rnbd::gateway

#endif  // GATEWAY_FABRIC_CHOICE_H_
