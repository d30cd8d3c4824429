// Warns the administrator about a disk that two write to.
#ifndef SERVER_IN_USE_H_
#define SERVER_IN_USE_H_

#include <string>

#include "server/export_path.h"

namespace rnbd::server {

// Why `opened` must be taken to be in use on this machine ("mounted on /srv",
// "attached to loop0"), or empty. Looks below `proc` and `sysfs` ("/proc",
// "/sys").
std::string UseOf(const OpenedExport& opened, const std::string& proc,
                  const std::string& sysfs);

// Logs a warning if `opened`, which is about to be written, is in use here.
void WarnIfInUse(const OpenedExport& opened);

}  // namespace rnbd::server

#endif  // SERVER_IN_USE_H_
