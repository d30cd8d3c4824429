// RoCEv2 packets, and the CM messages in those for queue pair 1.
#include "rtrs/fabric/softroce/cm_messages.h"
#include "rtrs/fabric/softroce/packet.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace softroce = rtrs::softroce;
  const absl::Span<const uint8_t> bytes(data, size);
  softroce::Packet packet;
  if (softroce::Parse(bytes, &packet) != softroce::ParseError::kNone) return 0;
  FUZZ_CHECK(packet.info != nullptr);
  FUZZ_CHECK(packet.info->header_size + packet.payload.size() + packet.bth.pad +
                 softroce::kIcrcSize ==
             size);
  if (!packet.payload.empty()) {
    FUZZ_CHECK(packet.payload.data() == data + packet.info->header_size);
  }
  const auto cm = softroce::DecodeCm(packet.payload);
  if (!cm.ok()) return 0;
  const softroce::Mad encoded = softroce::EncodeCm(*cm);
  const auto again = softroce::DecodeCm(encoded);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(softroce::EncodeCm(*again) == encoded);
  return 0;
}
