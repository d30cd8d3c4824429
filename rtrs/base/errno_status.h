// absl::Status that carries an errno, for the wire and for NBD.
//
// The errno travels as a payload, so that a message can be wrapped on its way
// up and the number is still what the disk or the peer said.
#ifndef RTRS_BASE_ERRNO_STATUS_H_
#define RTRS_BASE_ERRNO_STATUS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace rtrs {

// A status for `error` (a positive errno), whose message is
// "<message>: <strerror>". `error` must not be 0.
absl::Status ErrnoError(int error, absl::string_view message);

// The positive errno of `status`: its payload, or else the errno nearest to
// its code (EINVAL, ENOENT, ETIMEDOUT, ..., EIO). 0 for an OK status.
int ErrnoOf(const absl::Status& status);

// The same status with `prefix` and ": " before its message, payload kept.
absl::Status Annotate(const absl::Status& status, absl::string_view prefix);

}  // namespace rtrs

#endif  // RTRS_BASE_ERRNO_STATUS_H_
