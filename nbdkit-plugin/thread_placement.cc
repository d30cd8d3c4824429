#include "nbdkit-plugin/thread_placement.h"

#include <sched.h>

namespace rnbd::plugin {
namespace {

// The processor number `index` of `set`, which has more than that.
int NthProcessor(const cpu_set_t& set, uint32_t index) {
  for (int cpu = 0;; ++cpu) {
    if (CPU_ISSET(static_cast<unsigned>(cpu), &set) && index-- == 0) return cpu;
  }
}

void Place(uint32_t connection) {
  cpu_set_t allowed;
  // Fails where there are more processors than the set holds: not few.
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  const int count = CPU_COUNT(&allowed);
  if (count < 2 || count > kFewProcessors) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  // From the last one down: interrupts gather on the first.
  const uint32_t index = static_cast<uint32_t>(count) - 1 -
                         connection % static_cast<uint32_t>(count);
  CPU_SET(static_cast<unsigned>(NthProcessor(allowed, index)), &one);
  // Only a matter of speed: whatever goes wrong, the request is served.
  sched_setaffinity(0, sizeof(one), &one);
}

}  // namespace

void PlaceThread(uint32_t connection) {
  thread_local bool placed = false;
  if (placed) return;
  placed = true;
  Place(connection);
}

}  // namespace rnbd::plugin
