#!/usr/bin/env python3
"""journal.py NAME DEVICE [OPTION...]: writes to a block device through faults, and knows
what must be there.

Threads write numbered blocks of their own with direct I/O, some with FUA, flush, and
read back. Commands are lines on standard input, each answered by one line:

  progress LABEL   once every thread has gone on: what happened since the last one, with
                   the longest time without any request that succeeded, and the slowest
                   request
  hold             the same, and from now on nobody flushes, until the next "progress"
  end              after the last flush and a look at every block: the same, since the start

A block must have its last acknowledged write, or one sent later; with --may-reset, where
the machine with the disk may lose its memory, the last one that was acknowledged and
flushed (or FUA), or one sent later, and only a flush that fails may tell of such a loss.

Exit code 1: an error, or wrong data, that the options do not allow; the last line of the
output says which.
"""
import argparse
import errno
import mmap
import os
import random
import struct
import sys
import threading
import time

BLOCK = 4096
# Requests of each thread that make up progress.
PROGRESS = 20
# The pause after a request that failed, in seconds: it would fail again at once.
PAUSE = 0.1


def content(block, number):
    """What the write `number` puts into `block`."""
    return struct.pack('<QQ', block, number) * (BLOCK // 16)


class Record:
    """What one block may have: its writes in the order of their sending, from the last one
    on that must not be lost. Each is [number, when it was acknowledged or None]."""

    def __init__(self):
        self.writes = []
        self.told_lost = 0  # the last that was acknowledged when a loss was told of

    def sent(self, number):
        self.writes.append([number, None])

    def acknowledged(self, when):
        self.writes[-1][1] = when

    def stable(self, until):
        """What was acknowledged before `until` is on stable storage."""
        for at in range(len(self.writes) - 1, -1, -1):
            when = self.writes[at][1]
            if when is not None and when < until:
                del self.writes[:at]
                return

    def lost(self):
        """All that was acknowledged may or may not be there."""
        for write in self.writes[1:]:
            if write[1] is not None:
                self.told_lost = write[0]
            write[1] = None

    def found(self, number):
        """The block has this write; true if one is gone that had been acknowledged."""
        gone = number < self.told_lost
        self.told_lost = 0
        return gone

    def numbers(self):
        return [number for number, _ in self.writes]


class Statistics:
    """What happened since the last report. Used under Journal.lock."""

    def __init__(self, start):
        self.requests = 0
        self.stall = self.slowest = 0.0
        self.last = start
        self.errors = {}

    def succeeded(self, start, end):
        self.requests += 1
        self.stall = max(self.stall, end - self.last)
        self.slowest = max(self.slowest, end - start)
        self.last = max(self.last, end)

    def failed(self, what, error):
        key = f'{errno.errorcode[error.errno]} of {what}'
        self.errors[key] = self.errors.get(key, 0) + 1

    def __str__(self):
        errors = ', '.join(f'{count} x {key}' for key, count in sorted(self.errors.items()))
        return (f'{self.requests} requests, longest stall {self.stall:.1f} s, slowest request '
                f'{self.slowest:.1f} s, errors: {errors or "none"}')


class Journal:
    def __init__(self, options):
        self.options = options
        self.lock = threading.Condition()  # guards all below
        self.records = [Record() for _ in range(options.writers * options.blocks)]
        self.statistics = Statistics(time.monotonic())
        self.total = Statistics(time.monotonic())
        self.done = [0] * options.writers
        self.ending = False
        self.holding = False  # no flush and no FUA
        self.gone = 0         # blocks without the write that was acknowledged last
        # One flush at a time: of several, only one is told of a loss.
        self.flushing = threading.Lock()

    def fail(self, why):
        with self.lock:
            print(f'{self.options.name}: FAILED: {why}', flush=True)
            os._exit(1)

    def run(self, what, function, writer=None):
        """Runs one request; false if it failed and was allowed to."""
        start = time.monotonic()
        try:
            function()
        except OSError as error:
            with self.lock:
                self.statistics.failed(what, error)
                self.total.failed(what, error)
            allowed = {'none': (), 'flush': ('flush', 'FUA write'),
                       'any': ('flush', 'FUA write', 'write', 'read')}[self.options.errors]
            if what not in allowed or error.errno != errno.EIO:
                self.fail(f'{what}: {error} after {time.monotonic() - start:.1f} s')
            # Where any error may come it tells of all losses, and nothing else does.
            if what in ('flush', 'FUA write') or self.options.errors == 'any':
                self.lost()
            return False
        end = time.monotonic()
        with self.lock:
            self.statistics.succeeded(start, end)
            self.total.succeeded(start, end)
            if writer is not None:
                self.done[writer] += 1
                self.lock.notify_all()
        return True

    def flush(self, fd, writer):
        with self.flushing:
            start = time.monotonic()
            if not self.run('flush', lambda: os.fsync(fd), writer):
                return False
            if self.options.may_reset:
                with self.lock:
                    for record in self.records:
                        record.stable(start)
        return True

    def lost(self):
        if not self.options.may_reset:
            return
        with self.lock:
            for record in self.records:
                record.lost()

    def report(self, label):
        """Waits until every thread has gone on."""
        with self.lock:
            before = list(self.done)
            if not self.lock.wait_for(
                    lambda: all(now >= then + PROGRESS for now, then in zip(self.done, before)),
                    timeout=self.options.patience):
                self.fail(f'{label}: no progress in {self.options.patience} s, since then '
                          f'{[now - then for now, then in zip(self.done, before)]} requests; '
                          f'{self.statistics}')
            print(f'{self.options.name}: {label}: {self.statistics}', flush=True)
            self.statistics = Statistics(self.statistics.last)


class Writer(threading.Thread):
    def __init__(self, journal, number):
        super().__init__(daemon=True)
        self.journal = journal
        self.number = number
        self.fd = os.open(journal.options.device, os.O_RDWR | os.O_DIRECT)
        self.buffer = mmap.mmap(-1, BLOCK)
        self.blocks = range(number * journal.options.blocks, (number + 1) * journal.options.blocks)
        self.random = random.Random(number)
        self.sequence = 0

    def offset(self, block):
        return self.journal.options.offset + block * BLOCK

    def write(self, block, fua):
        self.sequence += 1
        self.buffer[:] = content(block, self.sequence)
        record = self.journal.records[block]
        with self.journal.lock:
            record.sent(self.sequence)
        if fua:
            with self.journal.flushing:
                # On a block device that is a FUA write and a flush.
                succeeded = self.put('FUA write', block, os.RWF_DSYNC)
        else:
            succeeded = self.put('write', block, 0)
        if succeeded:
            with self.journal.lock:
                now = time.monotonic()
                record.acknowledged(now)
                if fua or not self.journal.options.may_reset:
                    record.stable(now + 1)
        return succeeded

    def put(self, what, block, flags):
        return self.journal.run(
            what, lambda: os.pwritev(self.fd, [self.buffer], self.offset(block), flags), self.number)

    def check(self, block):
        if not self.journal.run(
                'read', lambda: os.preadv(self.fd, [self.buffer], self.offset(block)), self.number):
            return False
        first, second = struct.unpack('<QQ', self.buffer[:16])
        whole = self.buffer[:] == content(first, second)
        with self.journal.lock:
            record = self.journal.records[block]
            numbers = record.numbers()
            self.journal.gone += record.found(second)
        if first != block or not whole or second not in numbers:
            self.journal.fail(
                f'block {block} has the write {second} of block {first}{"" if whole else " in part"}'
                f', but may have the writes {numbers} only')
        return True

    def run(self):
        while not self.journal.ending:
            kind = self.random.random()
            if self.journal.holding and 0.7 <= kind < 0.85:
                continue
            block = self.random.choice(self.blocks)
            if kind < 0.7:
                succeeded = self.write(block, False)
            elif kind < 0.8:
                succeeded = self.write(block, True)
            elif kind < 0.85:
                succeeded = self.journal.flush(self.fd, self.number)
            else:
                succeeded = self.check(block)
            if not succeeded:
                time.sleep(PAUSE)


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument('name')
    parser.add_argument('device')
    parser.add_argument('--offset', type=int, default=0, help='of the first block, bytes')
    parser.add_argument('--writers', type=int, default=3)
    parser.add_argument('--blocks', type=int, default=32, help='of each writer')
    parser.add_argument('--errors', choices=('none', 'flush', 'any'), default='none')
    parser.add_argument('--may-reset', action='store_true')
    parser.add_argument('--patience', type=int, default=240, help='for progress, seconds')
    return parser.parse_args()


def main():
    journal = Journal(parse())
    writers = [Writer(journal, number) for number in range(journal.options.writers)]
    for writer in writers:
        for block in writer.blocks:
            writer.write(block, False)
        if not journal.flush(writer.fd, writer.number):
            journal.fail('the first flush')
    for writer in writers:
        writer.start()
    for line in sys.stdin:
        command, _, label = line.strip().partition(' ')
        if command == 'end':
            break
        journal.holding = command == 'hold'
        journal.report(label or command)
    journal.ending = True
    for writer in writers:
        writer.join()
    # A loss that nobody has been told of yet is told now.
    while not journal.flush(writers[0].fd, 0):
        time.sleep(PAUSE)
    for writer in writers:
        for block in writer.blocks:
            if not writer.check(block):
                journal.fail(f'block {block} cannot be read')
    print(f'{journal.options.name}: in all: {journal.total}; {journal.gone} acknowledged writes '
          'lost, as an error had told', flush=True)


main()
