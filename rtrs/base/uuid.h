// 16 opaque bytes that name a session (paths_uuid) or a path (sess_uuid).
// wire.md §1.3.
#ifndef RTRS_BASE_UUID_H_
#define RTRS_BASE_UUID_H_

#include <array>
#include <cstdint>
#include <string>

#include "rtrs/base/random.h"

namespace rtrs {

using Uuid = std::array<uint8_t, 16>;

// A random (version 4) UUID.
Uuid NewUuid(Random& random);

// "00112233-4455-6677-8899-aabbccddeeff".
std::string UuidString(const Uuid& uuid);

}  // namespace rtrs

#endif  // RTRS_BASE_UUID_H_
