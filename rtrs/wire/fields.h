// Checks and copies that the messages of RTRS and RNBD share. Private to
// rtrs/wire. Any thread.
#ifndef RTRS_WIRE_FIELDS_H_
#define RTRS_WIRE_FIELDS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace rtrs::wire {

// Name fields are this long, the NUL included.
inline constexpr size_t kNameFieldSize = 255;

// That `bytes` has at least `size` bytes and begins with `type` (LE16).
// `message` is the name for the error, whose errno is EINVAL.
absl::Status CheckTypeAndSize(absl::Span<const uint8_t> bytes, uint16_t type,
                              size_t size, absl::string_view message);

// Writes a NUL-terminated name into a zeroed field of kNameFieldSize bytes.
// `name` has at most kNameFieldSize - 1 bytes.
void PutName(absl::string_view name, uint8_t* field);

// Reads a field of kNameFieldSize bytes. EINVAL if it is empty or has no NUL.
// `field_name` is for the error.
absl::StatusOr<std::string> GetName(const uint8_t* field,
                                    absl::string_view field_name);

}  // namespace rtrs::wire

#endif  // RTRS_WIRE_FIELDS_H_
