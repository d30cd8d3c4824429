// Makes `nbdkit rnbd ...` end with an error, visible to the person who typed
// it, when the server cannot be reached.
//
// nbdkit forks into the background before after_fork, and the parent exits
// with success at once: what goes wrong while connecting would be seen in
// syslog only. Connections cannot be opened before the fork, as threads do not
// survive it. So the parent waits in its exit handler, for the child to say
// how it went, copies what it says to stderr, and exits accordingly.
//
// With `nbdkit --run COMMAND` the parent runs the command, which waits on a
// socket that nobody would serve any more: there the child must live on and
// refuse the clients (ServesCommand). Without a fork (nbdkit -f) all of this
// does nothing.
#ifndef NBDKIT_PLUGIN_STARTUP_REPORT_H_
#define NBDKIT_PLUGIN_STARTUP_REPORT_H_

#include "absl/strings/string_view.h"

namespace rnbd::plugin::startup_report {

// Before the fork, once.
void Prepare();

// After the fork: a line for the one who waits. Nothing is written after
// Finish. Any thread.
void Say(absl::string_view line);

// After the fork: whether the parent runs a command (nbdkit --run).
bool ServesCommand();

// After the fork, once: the parent exits, with success or not.
void Finish(bool ok);

}  // namespace rnbd::plugin::startup_report

#endif  // NBDKIT_PLUGIN_STARTUP_REPORT_H_
