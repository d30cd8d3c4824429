// Parsing never fails, and what it read survives encode and parse.
#include "rtrs/fabric/softiwarp/fpdu.h"
#include "rtrs/fabric/softiwarp/terminate.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace softiwarp = rtrs::fabric::softiwarp;
  const softiwarp::Terminate first = softiwarp::ParseTerminate({data, size});
  FUZZ_CHECK(first.offender.size() <= softiwarp::kMaxHeaderSize);
  FUZZ_CHECK(!softiwarp::TerminateName(first.code).empty());
  FUZZ_CHECK(softiwarp::WcStatusOf(first.code) !=
             rtrs::fabric::WcStatus::kSuccess);
  const std::vector<uint8_t> encoded =
      softiwarp::EncodeTerminate(first.code, first.offender);
  const softiwarp::Terminate second = softiwarp::ParseTerminate(encoded);
  FUZZ_CHECK(first.code == second.code);
  FUZZ_CHECK(first.offender == second.offender);
  return 0;
}
