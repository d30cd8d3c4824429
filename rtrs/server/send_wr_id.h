// What a work request id of the server says: the kind of request and, for
// sends, how many have been posted up to and including this one, so that its
// completion tells how many slots of the send queue are free again.
#ifndef RTRS_SERVER_SEND_WR_ID_H_
#define RTRS_SERVER_SEND_WR_ID_H_

#include <cstdint>

namespace rtrs::server {

enum class WrKind : uint8_t {
  kSend = 0,
  kReceive = 1,
  kInfoRequest = 2,
  kInvalidation = 3,  // a send: ends a chunk's rkey, the oldest one's
};

// Slots of the send queue that responses leave to heartbeats and INFO_RSP.
inline constexpr uint32_t kReservedSends = 4;

constexpr uint64_t WrId(WrKind kind, uint64_t count = 0) {
  return count << 2 | static_cast<uint64_t>(kind);
}
constexpr WrKind WrKindOf(uint64_t wr_id) {
  return static_cast<WrKind>(wr_id & 3);
}
constexpr uint64_t SendCountOf(uint64_t wr_id) { return wr_id >> 2; }

}  // namespace rtrs::server

#endif  // RTRS_SERVER_SEND_WR_ID_H_
