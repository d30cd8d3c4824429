// Counts and times of the calls that nbdkit makes (nbdkit -D rnbd.stats=1).
// Any thread.
#ifndef NBDKIT_PLUGIN_CALL_STATS_H_
#define NBDKIT_PLUGIN_CALL_STATS_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace rnbd::plugin {

class CallStats {
 public:
  enum Call { kPread, kPwrite, kFlush, kTrim, kZero, kCalls };

  void Add(Call call, uint64_t bytes, absl::Duration took);
  // A table, one line per kind of call that happened, without a final newline.
  std::string Report() const;

 private:
  struct Counters {
    std::atomic<uint64_t> calls{0};
    std::atomic<uint64_t> bytes{0};
    std::atomic<int64_t> total_ns{0};
    std::atomic<int64_t> longest_ns{0};
  };
  std::array<Counters, kCalls> counters_;
};

}  // namespace rnbd::plugin

#endif  // NBDKIT_PLUGIN_CALL_STATS_H_
