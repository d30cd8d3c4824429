// Log lines of the libraries below to nbdkit: warnings and errors to
// nbdkit_error, so that a user sees them without -v (stderr, or syslog in the
// background); the rest to nbdkit_debug.
#ifndef NBDKIT_PLUGIN_LOG_SINK_H_
#define NBDKIT_PLUGIN_LOG_SINK_H_

namespace rnbd::plugin {

// Once, before anything logs.
void InstallLogSink();

// `verbosity`: nbdkit -D rnbd.log=N. 0: state changes, 1: debug, 2: trace.
void SetLogVerbosity(int verbosity);

}  // namespace rnbd::plugin

#endif  // NBDKIT_PLUGIN_LOG_SINK_H_
