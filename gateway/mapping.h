// A device of a session as the server sees it: its state and who waits for it.
// wire.md §7.3, §7.6, §7.7.
//
// The server knows a device by its name once per session: a second OPEN gets
// the same id and one CLOSE ends both. So there is one Mapping per name, and
// while an OPEN or CLOSE of that name is on its way nobody sends another.
// Owned by RnbdSession, guarded by its mutex.
#ifndef GATEWAY_MAPPING_H_
#define GATEWAY_MAPPING_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "gateway/device_link.h"
#include "gateway/mapped_device.h"
#include "rtrs/wire/rnbd_messages.h"

namespace rnbd::gateway {

enum class MappingState {
  kOpening,     // OPEN is on its way; with no waiter left its answer is closed
  kOpen,        // open on the server
  kLost,        // the session lost its last path: the server forgot the device
  kReopening,   // OPEN is on its way again after kLost
  kRefreshing,  // open on the server and in use; OPEN is on its way again, to
                // ask for the size
  kFailed,      // the OPEN after kLost was refused (it is sent again from time
                // to time) or found another device
  kClosing,     // CLOSE is on its way
  kGone,        // not open there; no longer in the table
};
const char* MappingStateName(MappingState state);

struct Mapping {
  std::string name;
  wire::AccessMode mode = wire::AccessMode::kRw;
  MappingState state = MappingState::kOpening;
  int waiters = 0;      // threads in Map that wait for kOpening to end
  bool unsent = false;  // kOpening: OPEN found no path, it waits for one
  absl::Status error;   // why it went from kOpening to kGone
  bool stale = false;   // kOpen: the server says that its size has changed
  // The last answer to OPEN. Its verifier is that of the last one with which
  // the device came to kOpen from elsewhere than kRefreshing.
  wire::OpenRsp rsp;
  std::shared_ptr<DeviceLink> link = std::make_shared<DeviceLink>();
  std::atomic<int64_t> resize_logged{0};  // rtrs::LogDue
  bool created = false;                   // `device` was set
  std::weak_ptr<MappedDevice> device;
};

}  // namespace rnbd::gateway

#endif  // GATEWAY_MAPPING_H_
