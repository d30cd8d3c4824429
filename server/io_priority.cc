#include "server/io_priority.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rnbd::server {
namespace {
constexpr int kWhoProcess = 1;  // IOPRIO_WHO_PROCESS; 0 is the calling thread
}  // namespace

uint16_t UsablePriority(uint16_t priority, bool realtime) {
  const uint16_t level = priority & 7;
  switch (static_cast<IoPriorityClass>(priority >> 13)) {
    case IoPriorityClass::kRealtime:
      return realtime ? MakeIoPriority(IoPriorityClass::kRealtime, level)
                      : MakeIoPriority(IoPriorityClass::kBestEffort, 0);
    case IoPriorityClass::kBestEffort:
      return MakeIoPriority(IoPriorityClass::kBestEffort, level);
    case IoPriorityClass::kIdle:
      return MakeIoPriority(IoPriorityClass::kIdle, 0);
    case IoPriorityClass::kNone:
      break;
  }
  return 0;
}

bool MayUseRealtimePriority() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return false;
  const uint32_t wanted = 1u << CAP_SYS_NICE | 1u << CAP_SYS_ADMIN;
  return (data[0].effective & wanted) != 0;
}

void SetThreadIoPriority(uint16_t priority) {
  thread_local uint16_t current = 0;
  if (priority == current) return;
  syscall(SYS_ioprio_set, kWhoProcess, 0, static_cast<int>(priority));
  current = priority;
}

}  // namespace rnbd::server
