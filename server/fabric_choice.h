// Which fabrics the server listens on: the one place that knows them all.
#ifndef SERVER_FABRIC_CHOICE_H_
#define SERVER_FABRIC_CHOICE_H_

#include <cstdint>
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

// Threads that serve requests, unless somebody says how many: one for each two
// processors, 8 at most. The others are for whoever asks, who often runs here
// too, and for the kernel's part of TCP or UDP. Where an RDMA device is used
// one for each: what the kernel does of its work (rdma_rxe: all) is done while
// a worker posts.
uint32_t DefaultWorkers(uint32_t processors, bool rdma_device);

// At least one fabric, or why not.
absl::StatusOr<std::vector<std::unique_ptr<rtrs::fabric::Fabric>>> MakeFabrics(
    FabricChoice choice, rtrs::fabric::SoftiwarpOptions::Crc crc);

}  // namespace rnbd::server

#endif  // SERVER_FABRIC_CHOICE_H_
