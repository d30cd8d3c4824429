// Which fabrics the server listens on: the one place that knows them all.
#ifndef SERVER_FABRIC_CHOICE_H_
#define SERVER_FABRIC_CHOICE_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "rtrs/fabric/fabric.h"
#include "rtrs/fabric/softiwarp/softiwarp.h"

namespace rnbd::server {

// --fabric
enum class FabricChoice {
  // All that this machine can do: softroce only on addresses whose UDP port
  // 4791 is free, the log says where it is not.
  kAuto,
  kVerbs,  // every RDMA device
  kSoftiwarp,
  kSoftroce,
};

// At least one fabric, or why not.
absl::StatusOr<std::vector<std::unique_ptr<rtrs::fabric::Fabric>>> MakeFabrics(
    FabricChoice choice, rtrs::fabric::SoftiwarpOptions::Crc crc);

}  // namespace rnbd::server

#endif  // SERVER_FABRIC_CHOICE_H_
