"""Programs a test starts: their output goes to files, nothing is left behind."""

import os
import signal
import subprocess
import time

from .checks import Failure

# Against hangs only: nothing is ever expected to take this long, not even under
# a sanitizer on a busy machine.
PATIENCE = 60


def wait_until(condition, what, process=None, patience=PATIENCE):
    """Waits for `condition` to hold, and gives up at once when `process` ends."""
    deadline = time.monotonic() + patience
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if process is not None and process.poll() is not None and not condition():
            raise Failure(f'{process.name} ended with exit code {process.poll()} while '
                          f'waiting for {what}:\n{process.output()}')
        if time.monotonic() > deadline:
            detail = f':\n{process.output()}' if process is not None else ''
            raise Failure(f'no {what} after {patience} s{detail}')
        time.sleep(pause)
        pause = min(pause * 2, 0.02)


class Process:
    """A running program, its standard output and error in one log file."""

    def __init__(self, name, command, log_path, env=None, **kwargs):
        self.name = name
        self.command = [str(word) for word in command]
        self.log_path = log_path
        with open(log_path, 'wb') as log:
            self._popen = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                           stderr=subprocess.STDOUT, env=env, **kwargs)
        self.pid = self._popen.pid

    def poll(self):
        return self._popen.poll()

    def output(self):
        with open(self.log_path, encoding='utf-8', errors='replace') as log:
            return log.read()

    def wait_for_line(self, prefix):
        """Returns the first line of output that starts with `prefix`."""

        def find():
            for line in self.output().splitlines(keepends=True):
                if line.startswith(prefix) and line.endswith('\n'):
                    return line.rstrip('\n')
            return None

        return wait_until(find, f'line "{prefix}"', self)

    def wait(self, patience=PATIENCE):
        """Waits for the end and returns the exit code, negative for a signal."""
        try:
            return self._popen.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            raise Failure(f'{self.name} did not end within {patience} s:\n'
                          f'{self.output()}') from None

    def signal(self, number):
        self._popen.send_signal(number)

    def stop(self):
        """Ends it as an administrator would, and returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.wait()


def descendants(pid):
    """Process ids of all children of `pid`, and of their children."""
    children = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            try:
                with open(f'/proc/{entry}/stat', encoding='ascii', errors='replace') as stat:
                    parent = int(stat.read().rpartition(')')[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found = []
    todo = [pid]
    while todo:
        for child in children.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


def kill_descendants(pid):
    for child in descendants(pid):
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
