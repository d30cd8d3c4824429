// Which fabric a session runs over: the one place that knows them all.
//
// `auto` tries them in order by really opening the session, because an RDMA
// device on the way says nothing about what the server at its end speaks. What
// answers first is kept for the life of the session, reconnects included.
// Any thread.
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

// What `choice` stands for on this machine, in the order of trying; never
// kAuto.
std::vector<FabricChoice> FabricsToTry(FabricChoice choice);
const char* FabricChoiceName(FabricChoice choice);

// The fabric `choice`, not kAuto, for all of `paths`. For verbs that is the
// RDMA device which routes them; looking for it takes a few seconds at most.
absl::StatusOr<std::unique_ptr<rtrs::fabric::Fabric>> MakeFabric(
    FabricChoice choice, CrcChoice crc,
    const std::vector<rtrs::PathSpec>& paths);

// True if `status`, of opening a session, says that nobody speaks this fabric
// there: another may be tried. An answer of the server, also a refusal, is
// final.
bool MayTryNextFabric(const absl::Status& status);

}  // namespace rnbd::gateway

#endif  // GATEWAY_FABRIC_CHOICE_H_
