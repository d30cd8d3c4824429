#include "nbdkit-plugin/call_stats.h"

#include "absl/strings/str_format.h"

namespace rnbd::plugin {
namespace {

constexpr const char* kNames[] = {"pread", "pwrite", "flush", "trim", "zero"};

}  // namespace

void CallStats::Add(Call call, uint64_t bytes, absl::Duration took) {
  Counters& c = counters_[call];
  const int64_t ns = absl::ToInt64Nanoseconds(took);
  c.calls.fetch_add(1, std::memory_order_relaxed);
  c.bytes.fetch_add(bytes, std::memory_order_relaxed);
  c.total_ns.fetch_add(ns, std::memory_order_relaxed);
  int64_t longest = c.longest_ns.load(std::memory_order_relaxed);
  while (ns > longest && !c.longest_ns.compare_exchange_weak(
                             longest, ns, std::memory_order_relaxed)) {
  }
}

std::string CallStats::Report() const {
  std::string report = absl::StrFormat("%-8s %12s %18s %12s %12s", "call",
                                       "count", "bytes", "mean us", "max us");
  for (int i = 0; i < kCalls; ++i) {
    const Counters& c = counters_[i];
    const uint64_t calls = c.calls.load();
    if (calls == 0) continue;
    absl::StrAppendFormat(&report, "\n%-8s %12u %18u %12.1f %12.1f", kNames[i],
                          calls, c.bytes.load(),
                          static_cast<double>(c.total_ns.load()) / 1e3 /
                              static_cast<double>(calls),
                          static_cast<double>(c.longest_ns.load()) / 1e3);
  }
  return report;
}

}  // namespace rnbd::plugin
