// Linux I/O priorities, as IO messages carry them (wire.md §7.5): a class in
// the upper three bits, a level in the lower three, hints between them. The
// kernel's own header does not compile as C++ everywhere.
#ifndef SERVER_IO_PRIORITY_H_
#define SERVER_IO_PRIORITY_H_

#include <cstdint>

namespace rnbd::server {

enum class IoPriorityClass : uint16_t {
  kNone = 0,
  kRealtime = 1,
  kBestEffort = 2,
  kIdle = 3,
};

constexpr uint16_t MakeIoPriority(IoPriorityClass c, uint16_t level) {
  return static_cast<uint16_t>(static_cast<uint16_t>(c) << 13 | (level & 7));
}

// The priority of an IO message as it may be given to the kernel here: 0 if
// it makes no sense, best effort for realtime without the right to it, no
// hints.
uint16_t UsablePriority(uint16_t priority, bool realtime);

// Whether this process may use the realtime class (CAP_SYS_NICE or
// CAP_SYS_ADMIN).
bool MayUseRealtimePriority();

// Gives the calling thread `priority` (from UsablePriority) for the blocking
// operations that follow.
void SetThreadIoPriority(uint16_t priority);

}  // namespace rnbd::server

#endif  // SERVER_IO_PRIORITY_H_
