// The 32-bit immediate: 4 type bits on top, 28 payload bits. wire.md §3.
//
// Values here are in host order; the fabric puts them on the wire big endian.
#ifndef RTRS_WIRE_IMMEDIATE_H_
#define RTRS_WIRE_IMMEDIATE_H_

#include <bit>
#include <cstdint>

#include "rtrs/base/uuid.h"

namespace rtrs::wire {

enum class ImmType : uint8_t {
  kIoRequest = 0,      // client to server: chunk number and offset
  kIoResponse = 1,     // server to client: errno and msg_id
  kIoResponseInv = 2,  // the same, a SEND_WITH_INV went before
  kHeartbeat = 8,
  kHeartbeatAck = 9,
  kFence = 10,      // client to server: fence a dead path; FenceImm
  kFenceDone = 11,  // server to client: it is fenced; the same payload
  kNotice = 12,     // server to client: for the layer above; EncodeNoticeImm
  kNoticeAck = 13,  // client to server: it came; the same payload
};

inline constexpr int kImmPayloadBits = 28;
inline constexpr uint32_t kImmPayloadMask = (1u << kImmPayloadBits) - 1;
inline constexpr int kMsgIdBits = 19;      // of a response
inline constexpr int kMaxWireErrno = 511;  // 9 bits

// The type bits; may be a value that ImmType does not name.
constexpr ImmType ImmTypeOf(uint32_t imm) {
  return static_cast<ImmType>(imm >> kImmPayloadBits);
}

// Bits needed for the offset: 28 - bits(queue_depth - 1). queue_depth is in
// 1..65535.
constexpr int MemBits(uint32_t queue_depth) {
  return kImmPayloadBits - std::bit_width(queue_depth - 1);
}

struct IoRequestImm {
  uint32_t buf_id = 0;
  uint32_t offset = 0;  // of the RTRS message in the chunk, bytes

  friend bool operator==(const IoRequestImm&, const IoRequestImm&) = default;
};
// The caller guarantees that both fit (chunk size and queue depth do, §4.1).
constexpr uint32_t EncodeIoRequestImm(const IoRequestImm& v, int mem_bits) {
  return (v.buf_id << mem_bits) | v.offset;
}
// Neither field is checked against the session's limits.
constexpr IoRequestImm DecodeIoRequestImm(uint32_t imm, int mem_bits) {
  const uint32_t payload = imm & kImmPayloadMask;
  return {payload >> mem_bits, payload & ((1u << mem_bits) - 1)};
}

struct IoResponseImm {
  uint32_t msg_id = 0;
  int error = 0;             // 0 or a positive errno
  bool invalidated = false;  // type kIoResponseInv

  friend bool operator==(const IoResponseImm&, const IoResponseImm&) = default;
};
// An errno above kMaxWireErrno is sent as EIO: it would wrap, 512 to success.
uint32_t EncodeIoResponseImm(const IoResponseImm& v);
// `imm` has type kIoResponse or kIoResponseInv.
constexpr IoResponseImm DecodeIoResponseImm(uint32_t imm) {
  return {imm & ((1u << kMsgIdBits) - 1),
          static_cast<int>((imm & kImmPayloadMask) >> kMsgIdBits),
          ImmTypeOf(imm) == ImmType::kIoResponseInv};
}

inline constexpr uint32_t kHeartbeatImm = 8u << kImmPayloadBits;
inline constexpr uint32_t kHeartbeatAckImm = 9u << kImmPayloadBits;

// The fence, between ends that both announced Capabilities::kFence in the
// connects of the session; unknown to kernel peers. Like a heartbeat it is a
// zero-length RDMA_WRITE_WITH_IMM on cid 0, address 0 and rkey 0, of any
// connected path of the session.
//
// FENCE names a path of the same session as it was up to a connect: the
// client has given it up, its queue pairs are destroyed there. The server
// closes what it still has of it and answers FENCE_DONE, on the connection the
// FENCE came on, once nothing that was sent on that path can execute or answer
// any more: its queue pairs are in error, unread bytes are thrown away, and its
// running I/O has finished. A path that is unknown there is fenced already.
// Newer connects of the same path (a greater recon_cnt, modulo 256) are not
// touched. The client may repeat a FENCE, on this or another path; each one is
// answered.
struct FenceImm {
  static constexpr int kPathBits = 20;
  uint32_t path = 0;      // FencePath of its sess_uuid
  uint8_t recon_cnt = 0;  // low byte, of the last connect that is given up

  friend bool operator==(const FenceImm&, const FenceImm&) = default;
};
// The client chooses the sess_uuids of a session so that these differ.
constexpr uint32_t FencePath(const Uuid& sess_uuid) {
  return (sess_uuid[0] | static_cast<uint32_t>(sess_uuid[1]) << 8 |
          static_cast<uint32_t>(sess_uuid[2]) << 16) &
         ((1u << FenceImm::kPathBits) - 1);
}
// `type` is kFence or kFenceDone.
constexpr uint32_t EncodeFenceImm(ImmType type, const FenceImm& v) {
  return static_cast<uint32_t>(type) << kImmPayloadBits | v.path << 8 |
         v.recon_cnt;
}
constexpr FenceImm DecodeFenceImm(uint32_t imm) {
  return {(imm & kImmPayloadMask) >> 8, static_cast<uint8_t>(imm)};
}
// Whether a connect of this path with `recon_cnt` is one that `v` gives up:
// not more than 127 connects newer.
constexpr bool FenceCovers(const FenceImm& v, uint16_t recon_cnt) {
  return static_cast<uint8_t>(v.recon_cnt - recon_cnt) < 128;
}

// The notice, between ends that both announced Capabilities::kNotice in the
// connects of the session; unknown to kernel peers. As the fence it is an empty
// RDMA_WRITE_WITH_IMM on cid 0.
//
// NOTICE tells the client's layer above that something at the server is not any
// more what it was told; the payload says what. It carries no news itself, so
// that it may come twice or too late. NOTICE_ACK says on the same path that it
// came and that its receive is posted again: until then the server sends no
// other NOTICE on that path, and so the client needs one receive for them all.
// A NOTICE may be lost with its path. The server's layer above repeats it until
// the client has asked.
//
// `type` is kNotice or kNoticeAck, `payload` has 28 bits.
constexpr uint32_t EncodeNoticeImm(ImmType type, uint32_t payload) {
  return static_cast<uint32_t>(type) << kImmPayloadBits | payload;
}
constexpr uint32_t DecodeNoticeImm(uint32_t imm) {
  return imm & kImmPayloadMask;
}

}  // namespace rtrs::wire

#endif  // RTRS_WIRE_IMMEDIATE_H_
