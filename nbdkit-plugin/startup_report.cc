#include "nbdkit-plugin/startup_report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "rtrs/base/mutex.h"

namespace rnbd::plugin::startup_report {
namespace {

// The child writes lines of text, and one of these at the end.
constexpr char kGood = '\0';
constexpr char kBad = '\1';

struct State {
  pid_t parent = 0;
  int read_fd = -1;
  struct stat directory_before = {};
  rtrs::Mutex mu;
  int write_fd ABSL_GUARDED_BY(mu) = -1;
};
State& TheState() {
  static auto* state = new State;  // lives as long as exit handlers
  return *state;
}

void WriteAll(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // nobody there: no one to tell
    text.remove_prefix(static_cast<size_t>(n));
  }
}

// Runs at every exit of nbdkit; does something in a parent that succeeded so
// far and whose child connects.
void OnExit(int status, void*) {
  State& state = TheState();
  if (status != 0 || state.parent != getpid()) return;
  {
    rtrs::MutexLock lock(&state.mu);
    if (state.write_fd < 0) return;  // never forked
    close(state.write_fd);
    state.write_fd = -1;
  }
  char buffer[512];
  for (;;) {
    const ssize_t n = read(state.read_fd, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;  // the child died
    absl::string_view text(buffer, static_cast<size_t>(n));
    const char last = text.back();
    if (last == kGood || last == kBad) text.remove_suffix(1);
    WriteAll(STDERR_FILENO, text);
    if (last == kGood) return;
    if (last == kBad) _exit(EXIT_FAILURE);
  }
  WriteAll(STDERR_FILENO, "nbdkit: rnbd: ended while it connected\n");
  _exit(EXIT_FAILURE);
}

// Whether both are one open file, as after dup(2): the same inode and, as
// everybody may open /dev/null, a flag that is the open file's own.
bool SameOpenFile(int a, int b) {
  struct stat stat_a = {};
  struct stat stat_b = {};
  if (fstat(a, &stat_a) != 0 || fstat(b, &stat_b) != 0) return false;
  if (stat_a.st_dev != stat_b.st_dev || stat_a.st_ino != stat_b.st_ino) {
    return false;
  }
  if (!S_ISCHR(stat_a.st_mode)) return true;
  const int flags = fcntl(a, F_GETFL);
  fcntl(a, F_SETFL, flags ^ O_APPEND);
  const bool same = fcntl(b, F_GETFL) == (flags ^ O_APPEND);
  fcntl(a, F_SETFL, flags);
  return same;
}

}  // namespace

void Prepare() {
  State& state = TheState();
  int fds[2];
  // Not blocking: with --run nobody reads.
  if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) return;  // syslog it is, then
  fcntl(fds[0], F_SETFL, 0);
  state.parent = getpid();
  stat(".", &state.directory_before);
  state.read_fd = fds[0];
  {
    rtrs::MutexLock lock(&state.mu);
    state.write_fd = fds[1];
  }
  on_exit(OnExit, nullptr);
}

void Say(absl::string_view line) {
  State& state = TheState();
  rtrs::MutexLock lock(&state.mu);
  if (state.write_fd < 0 || getpid() == state.parent) return;
  WriteAll(state.write_fd, absl::StrCat("nbdkit: rnbd: ", line, "\n"));
}

bool ServesCommand() {
  const State& state = TheState();
  if (state.parent == 0 || getpid() == state.parent) return false;
  // In the background nbdkit changes the directory, and makes stderr the
  // /dev/null that stdout is, unless there is -v.
  struct stat now = {};
  return !SameOpenFile(STDOUT_FILENO, STDERR_FILENO) && stat(".", &now) == 0 &&
         now.st_dev == state.directory_before.st_dev &&
         now.st_ino == state.directory_before.st_ino;
}

void Finish(bool ok) {
  State& state = TheState();
  rtrs::MutexLock lock(&state.mu);
  if (state.write_fd < 0) return;
  const char last = ok ? kGood : kBad;
  WriteAll(state.write_fd, absl::string_view(&last, 1));
  close(state.write_fd);
  close(state.read_fd);
  state.write_fd = -1;
  state.read_fd = -1;
}

}  // namespace rnbd::plugin::startup_report
