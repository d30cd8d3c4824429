// Input: the immediate (BE32) and the queue depth (LE16).
#include "rtrs/wire/coding.h"
#include "rtrs/wire/immediate.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace wire = rtrs::wire;
  if (size < 6) return 0;
  const uint32_t imm = wire::GetBe<uint32_t>(data);
  const uint32_t queue_depth = wire::GetLe<uint16_t>(data + 4);
  switch (wire::ImmTypeOf(imm)) {
    case wire::ImmType::kIoRequest: {
      if (queue_depth == 0) break;
      const int mem_bits = wire::MemBits(queue_depth);
      const wire::IoRequestImm v = wire::DecodeIoRequestImm(imm, mem_bits);
      FUZZ_CHECK(wire::EncodeIoRequestImm(v, mem_bits) == imm);
      break;
    }
    case wire::ImmType::kIoResponse:
    case wire::ImmType::kIoResponseInv: {
      const wire::IoResponseImm v = wire::DecodeIoResponseImm(imm);
      FUZZ_CHECK(v.error >= 0 && v.error <= wire::kMaxWireErrno);
      FUZZ_CHECK(wire::EncodeIoResponseImm(v) == imm);
      break;
    }
    case wire::ImmType::kHeartbeat:
    case wire::ImmType::kHeartbeatAck:
      break;
    case wire::ImmType::kFence:
    case wire::ImmType::kFenceDone: {
      const wire::FenceImm v = wire::DecodeFenceImm(imm);
      FUZZ_CHECK(wire::EncodeFenceImm(wire::ImmTypeOf(imm), v) == imm);
      FUZZ_CHECK(wire::FenceCovers(v, v.recon_cnt));
      break;
    }
    case wire::ImmType::kNotice:
    case wire::ImmType::kNoticeAck: {
      const uint32_t v = wire::DecodeNoticeImm(imm);
      FUZZ_CHECK(v <= wire::kImmPayloadMask);
      FUZZ_CHECK(wire::EncodeNoticeImm(wire::ImmTypeOf(imm), v) == imm);
      break;
    }
  }
  return 0;
}
