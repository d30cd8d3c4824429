// What it costs to wake a thread that sleeps: the measure for how long polling
// instead of sleeping pays.
#ifndef RTRS_BASE_WAKEUP_COST_H_
#define RTRS_BASE_WAKEUP_COST_H_

#include "absl/time/time.h"

namespace rtrs {

// From the write to an eventfd to the return of the poll that waits for it in
// another thread: some microseconds, 35 to 40 on idle virtual processors,
// hundreds in an emulated machine. Measured once per process, by the first
// caller, in a few milliseconds; where that fails, the value of a virtual
// machine. Any thread.
absl::Duration WakeupCost();

}  // namespace rtrs

#endif  // RTRS_BASE_WAKEUP_COST_H_
