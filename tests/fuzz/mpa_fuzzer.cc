// The frame parser, as Request and as Reply, fed byte by byte: it must not
// change its mind about a frame, nor need more than the frame.
#include "rtrs/fabric/softiwarp/mpa.h"
#include "tests/fuzz/fuzz.h"

namespace {

using rtrs::fabric::softiwarp::MpaFrame;
using rtrs::fabric::softiwarp::MpaParse;

void Check(absl::Span<const uint8_t> bytes, bool reply) {
  using rtrs::fabric::softiwarp::EncodeMpaFrame;
  MpaFrame frame;
  const MpaParse whole = ParseMpaFrame(bytes, reply, &frame);
  for (size_t n = 0; n < bytes.size(); ++n) {
    MpaFrame partial;
    const MpaParse parse = ParseMpaFrame(bytes.subspan(0, n), reply, &partial);
    if (parse.result != MpaParse::Result::kIncomplete) {
      FUZZ_CHECK(parse.result == whole.result);
      FUZZ_CHECK(parse.consumed == whole.consumed);
      break;
    }
  }
  if (whole.result != MpaParse::Result::kDone) return;
  FUZZ_CHECK(whole.consumed <= bytes.size());
  FUZZ_CHECK(whole.consumed <= rtrs::fabric::softiwarp::kMpaMaxFrame);
  const std::vector<uint8_t> encoded = EncodeMpaFrame(frame);
  MpaFrame again;
  const MpaParse parse = ParseMpaFrame(encoded, reply, &again);
  FUZZ_CHECK(parse.result == MpaParse::Result::kDone);
  FUZZ_CHECK(parse.consumed == encoded.size());
  FUZZ_CHECK(EncodeMpaFrame(again) == encoded);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Check({data, size}, false);
  Check({data, size}, true);
  return 0;
}
