#include "rtrs/wire/fields.h"

#include <errno.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "rtrs/base/errno_status.h"
#include "rtrs/wire/coding.h"

namespace rtrs::wire {

absl::Status CheckTypeAndSize(absl::Span<const uint8_t> bytes, uint16_t type,
                              size_t size, absl::string_view message) {
  if (bytes.size() < size) {
    return ErrnoError(EINVAL, absl::StrCat(message, " has ", bytes.size(),
                                           " bytes, needs ", size));
  }
  const uint16_t got = GetLe<uint16_t>(bytes.data());
  if (got != type) {
    return ErrnoError(
        EINVAL, absl::StrCat(message, " has type ", got, " instead of ", type));
  }
  return absl::OkStatus();
}

void PutName(absl::string_view name, uint8_t* field) {
  assert(name.size() < kNameFieldSize);
  std::memcpy(field, name.data(), std::min(name.size(), kNameFieldSize - 1));
}

absl::StatusOr<std::string> GetName(const uint8_t* field,
                                    absl::string_view field_name) {
  const void* nul = std::memchr(field, 0, kNameFieldSize);
  if (nul == nullptr) {
    return ErrnoError(EINVAL, absl::StrCat(field_name, " does not end within ",
                                           kNameFieldSize, " bytes"));
  }
  const auto* end = static_cast<const uint8_t*>(nul);
  if (end == field) {
    return ErrnoError(EINVAL, absl::StrCat(field_name, " is empty"));
  }
  return std::string(reinterpret_cast<const char*>(field),
                     static_cast<size_t>(end - field));
}

}  // namespace rtrs::wire
