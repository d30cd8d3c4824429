// The fabric on rdma-core: InfiniBand, RoCE and the kernel's soft RoCE through
// libibverbs and librdmacm.
//
//   RTRS_ASSIGN_OR_RETURN(std::string name, verbs::FindDevice(path, timeout));
//   RTRS_ASSIGN_OR_RETURN(auto fabric, verbs::OpenDevice(name));
//
// One Fabric is one device. A path lives on the device that routes to its
// destination; FindDevice says which. Listen on an address binds to the device
// of that address; on the wildcard address it takes every address of this
// device, and those of other devices belong to their own Fabric.
//
// Any thread. Errors: ENODEV when there is no RDMA device or no device of that
// name, with what to do about it.
#ifndef RTRS_FABRIC_VERBS_VERBS_H_
#define RTRS_FABRIC_VERBS_VERBS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "rtrs/base/path_spec.h"
#include "rtrs/base/socket_address.h"
#include "rtrs/fabric/fabric.h"

namespace rtrs::fabric::verbs {

// Names of the devices that librdmacm offers now; empty without any.
std::vector<std::string> ListDevices();

// Opens the device called `name` and logs what it can do and what it lacks.
absl::StatusOr<std::unique_ptr<Fabric>> OpenDevice(absl::string_view name);

// The device that routes `path`. Blocks for `timeout` at the most; the error
// is EHOSTUNREACH or ETIMEDOUT when no device does.
absl::StatusOr<std::string> FindDevice(const PathSpec& path,
                                       absl::Duration timeout);

// The device that owns the local address; ENODEV when none does.
absl::StatusOr<std::string> FindDeviceOfAddress(const SocketAddress& address);

}  // namespace rtrs::fabric::verbs

#endif  // RTRS_FABRIC_VERBS_VERBS_H_
