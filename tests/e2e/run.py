#!/usr/bin/python3
"""Runs the end-to-end tests against a build.

  tests/e2e/run.py BUILD_DIR [-k TEXT] [-j N] [--repeat N] [--kills N] [--list] [--keep]

A test is a function test_* in a file test_*.py here; it is given an Env (see
lib/env.py) and runs in a process and a directory of its own. One line a test,
the logs of all programs after a failure, then "N passed, N failed, N skipped".
"""

import argparse
import collections
import ctypes
import importlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True
from lib.checks import Failure, Skip  # noqa: E402
from lib.env import Env  # noqa: E402
from lib.process import kill_descendants  # noqa: E402
from lib.sanitizer import sanitizers_of  # noqa: E402

Test = collections.namedtuple('Test', 'name function')
PASSED, FAILED, SKIPPED = 'passed', 'failed', 'skipped'
_PR_SET_CHILD_SUBREAPER = 36


def discover(pattern):
    tests = []
    for path in sorted(HERE.glob('test_*.py')):
        module = importlib.import_module(path.stem)
        for name, function in vars(module).items():
            full = f'{path.stem[5:]}.{name[5:]}'
            if name.startswith('test_') and callable(function) and pattern in full:
                tests.append(Test(full, function))
    return tests


def for_sanitized_build(tests):
    for test in tests:
        if why := getattr(test.function, 'plain_build_only', None):
            print(f'left out: {test.name}: {why}')
    return [t for t in tests if not hasattr(t.function, 'plain_build_only')]


def run_in_child(test, options, tmp, seed):
    """The process of one test. Its exit code is the result's place in the list."""
    # Children of killed children come to us, so that none can get away.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))
    env = Env(options.build_dir, tmp, seed, options.kills)
    note = pathlib.Path(tmp) / 'note'
    result = PASSED
    try:
        test.function(env)
    except Skip as skip:
        result = SKIPPED
        note.write_text(str(skip), encoding='utf-8')
    except Failure as failure:
        result = FAILED
        where = traceback.extract_tb(failure.__traceback__)
        place = [f for f in where if HERE == pathlib.Path(f.filename).parent][-1]
        note.write_text(f'{pathlib.Path(place.filename).name}:{place.lineno}: {failure}',
                        encoding='utf-8')
    except BaseException:
        result = FAILED
        note.write_text(traceback.format_exc(), encoding='utf-8')
    finally:
        kill_descendants(os.getpid())
    reports = env.sanitizer_reports()
    if reports:
        result = FAILED
        with open(note, 'a', encoding='utf-8') as out:
            out.write(f'\nsanitizer reports:\n{reports}')
    os._exit([PASSED, FAILED, SKIPPED].index(result))


class Runner:
    def __init__(self, options, total):
        self._options = options
        self._total = total
        self._running = {}
        self._done = 0
        self.counts = collections.Counter()

    def start(self, test):
        tmp = tempfile.mkdtemp(prefix='rnbd-e2e-')
        seed = self._options.seed
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            run_in_child(test, self._options, tmp, f'{seed}:{test.name}')
        self._running[pid] = (test, tmp, time.monotonic())

    def wait(self):
        """Waits for the end of one test, and ends those that hang."""
        while True:
            for pid, (test, tmp, start) in list(self._running.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                over = time.monotonic() - start > self._options.timeout
                if ended or over:
                    if not ended:
                        kill_descendants(pid)
                        os.kill(pid, signal.SIGKILL)
                        os.waitpid(pid, 0)
                    del self._running[pid]
                    self._finish(test, tmp, time.monotonic() - start,
                                 None if not ended else os.waitstatus_to_exitcode(status))
                    return
            time.sleep(0.01)

    def _finish(self, test, tmp, seconds, code):
        note_path = pathlib.Path(tmp) / 'note'
        note = note_path.read_text(encoding='utf-8') if note_path.exists() else ''
        if code is None:
            result, note = FAILED, f'no end after {self._options.timeout} s\n{note}'
        elif code in (0, 1, 2):
            result = [PASSED, FAILED, SKIPPED][code]
        else:
            result, note = FAILED, f'the test ended with exit code {code}\n{note}'
        self.counts[result] += 1
        self._done += 1
        why = f': {note}' if result == SKIPPED else ''
        print(f'[{self._done:3}/{self._total}] {result:7} {seconds:6.1f} s  {test.name}{why}')
        if result == FAILED:
            print(note)
            print_logs(tmp)
        sys.stdout.flush()
        if self._options.keep:
            print(f'    kept: {tmp}')
        else:
            shutil.rmtree(tmp, ignore_errors=True)

    def stop(self):
        for pid, (_, tmp, _) in self._running.items():
            kill_descendants(pid)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            shutil.rmtree(tmp, ignore_errors=True)

    @property
    def running(self):
        return len(self._running)


def print_logs(tmp):
    for path in sorted(pathlib.Path(tmp).glob('*.log')):
        text = path.read_text(encoding='utf-8', errors='replace')
        if len(text) > 8000:
            text = f'{text[:2000]}\n[...]\n{text[-6000:]}'
        print(f'--- {path.name}\n{text}')


def parse_arguments():
    parser = argparse.ArgumentParser(description='End-to-end tests.')
    parser.add_argument('build_dir')
    parser.add_argument('-k', default='', metavar='TEXT', help='only tests with TEXT in the name')
    parser.add_argument('-j', type=int, default=2, metavar='N', help='tests at once, default 2')
    parser.add_argument('--repeat', type=int, default=1, metavar='N')
    parser.add_argument('--kills', type=int, default=6, metavar='N', help='of test_kill.py')
    parser.add_argument('--timeout', type=int, default=300, metavar='SECONDS')
    parser.add_argument('--seed', default=None, help='of the data; default: a new one, printed')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--keep', action='store_true', help='keep the directories')
    options = parser.parse_args()
    options.build_dir = os.path.abspath(options.build_dir)
    options.seed = options.seed or str(int(time.time()))
    return options


def main():
    options = parse_arguments()
    tests = discover(options.k)
    if options.list:
        print('\n'.join(test.name for test in tests))
        return 0
    for needed in ('server/rnbd-server', 'nbdkit-plugin/nbdkit-rnbd-plugin.so'):
        if not os.path.exists(os.path.join(options.build_dir, needed)):
            sys.exit(f'run.py: no {needed} in {options.build_dir}')
    print(f'end-to-end tests of {options.build_dir}, seed {options.seed}', flush=True)
    if sanitizers_of(options.build_dir):
        tests = for_sanitized_build(tests)
    todo = collections.deque(tests * options.repeat)
    runner = Runner(options, len(todo))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        while todo or runner.running:
            while todo and runner.running < options.j:
                runner.start(todo.popleft())
            runner.wait()
    finally:
        runner.stop()
    print(', '.join(f'{runner.counts[what]} {what}' for what in (PASSED, FAILED, SKIPPED)))
    return 1 if runner.counts[FAILED] else 0


if __name__ == '__main__':
    sys.exit(main())
