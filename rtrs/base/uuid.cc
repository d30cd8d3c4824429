#include "rtrs/base/uuid.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace rtrs {

Uuid NewUuid(Random& random) {
  Uuid uuid;
  random.Fill(absl::MakeSpan(uuid));
  uuid[6] = static_cast<uint8_t>((uuid[6] & 0x0f) | 0x40);  // version 4
  uuid[8] = static_cast<uint8_t>((uuid[8] & 0x3f) | 0x80);  // RFC 4122
  return uuid;
}

std::string UuidString(const Uuid& uuid) {
  const std::string hex = absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(uuid.data()), uuid.size()));
  const absl::string_view h = hex;
  return absl::StrCat(h.substr(0, 8), "-", h.substr(8, 4), "-", h.substr(12, 4),
                      "-", h.substr(16, 4), "-", h.substr(20));
}

}  // namespace rtrs
