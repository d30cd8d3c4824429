// What a failed path is told to its user: which address, what happened, what
// to do. Pure functions; any thread.
#ifndef RTRS_CLIENT_PATH_ERRORS_H_
#define RTRS_CLIENT_PATH_ERRORS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "rtrs/base/path_spec.h"

namespace rtrs::client {

// The fabric could not connect.
absl::Status ConnectError(const PathSpec& spec, const absl::Status& why);
// The server rejected the connection; the errno is in `private_data`, or
// ECONNRESET if that is no RTRS response (wire.md §1.6).
absl::Status RejectError(const PathSpec& spec, uint16_t cid,
                         absl::Span<const uint8_t> private_data);
// The server disconnected after INFO_REQ: EPERM (wire.md §2.2).
absl::Status RefusedNameError(const PathSpec& spec, absl::string_view sessname);
// Any other failure of a path.
absl::Status PathError(const PathSpec& spec, const absl::Status& why);

}  // namespace rtrs::client

#endif  // RTRS_CLIENT_PATH_ERRORS_H_
