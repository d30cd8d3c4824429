// The capture checker must stand any file.
#include "tests/fuzz/fuzz.h"
#include "tests/pcap/capture_file.h"
#include "tests/pcap/checker.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto frames = rtrs::pcap::ParseCapture({data, size});
  if (!frames.ok()) return 0;
  rtrs::pcap::Report report(true);
  rtrs::pcap::CheckCapture(*frames, &report);
  return 0;
}
