// A whole request in a chunk, as the server reads it: 2 bytes of offset (LE),
// then the chunk. The chunk is an allocation of its own, so that the sanitizer
// sees every byte read beyond it.
#include <algorithm>
#include <vector>

#include "rtrs/server/operation.h"
#include "rtrs/wire/coding.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  std::vector<uint8_t> chunk(data + 2, data + size);
  const auto offset =
      static_cast<uint32_t>(rtrs::wire::GetLe<uint16_t>(data) % chunk.size());
  static rtrs::server::Operation op;
  const rtrs::server::Verdict verdict =
      rtrs::server::ParseRequest(absl::MakeSpan(chunk), offset, &op);
  if (verdict != rtrs::server::Verdict::kServe) return 0;
  FUZZ_CHECK(op.user_message.size() <= offset);
  FUZZ_CHECK(op.user_message.size() <= rtrs::server::Request::kMaxUserMessage);
  FUZZ_CHECK(op.data.size() <= chunk.size());
  if (!op.data.empty()) FUZZ_CHECK(op.data.data() == chunk.data());
  FUZZ_CHECK(op.has_descriptor || !op.need_inval);
  std::fill(op.data.begin(), op.data.end(), 0);
  return 0;
}
