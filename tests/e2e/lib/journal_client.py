#!/usr/bin/python3
"""An NBD client that can be killed at any moment and whose disk can be judged after.

  journal_client.py URI FIRST_BLOCK BLOCKS JOURNAL SEED

It alone writes the blocks [FIRST_BLOCK, FIRST_BLOCK + BLOCKS). Before a write is
sent, the journal gets a line "w BLOCK NUMBER", after its acknowledgement "a BLOCK
NUMBER". Lines are written with one system call each, so that the journal survives
whatever kills this process. When it starts, it holds the disk against the journal:
a block must have its last acknowledged write, or one that was sent later.

Exit codes: 1 the disk is wrong, 2 an I/O error though nbdkit lives, 3 nbdkit is gone.
"""

import os
import random
import signal
import struct
import sys

import nbd

BLOCK = 4096
DEPTH = 4
WRONG, IO_ERROR, GONE = 1, 2, 3


def content(block, number):
    """What the write `number` puts into `block`; number 0 is the empty disk."""
    if number == 0:
        return bytes(BLOCK)
    return struct.pack('<QQ', block, number) * (BLOCK // 16)


def possible_numbers(journal):
    """For each block the numbers it may have, in the order of their sending."""
    found = {}
    for line in journal.splitlines():
        what, block, number = line.split()
        block, number = int(block), int(number)
        if what == 'w':
            found.setdefault(block, [0]).append(number)
        else:
            sent = found.setdefault(block, [0, number])
            del sent[:sent.index(number)]
    return found


class JournalClient:
    def __init__(self, uri, first, count, journal_path, seed):
        self._blocks = range(first, first + count)
        self._random = random.Random(seed)
        self._journal_path = journal_path
        self._journal = os.open(journal_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._number = 0
        self._acknowledged = {}  # block -> number
        self._handle = nbd.NBD()
        self._handle.connect_uri(uri)

    def _note(self, what, block, number):
        os.write(self._journal, f'{what} {block} {number}\n'.encode())

    def verify(self):
        with open(self._journal_path, encoding='ascii') as text:
            possible = possible_numbers(text.read())
        self._number = max((max(numbers) for numbers in possible.values()), default=0)
        for block in self._blocks:
            allowed = possible.get(block, [0])
            self._check(block, allowed)
            if len(allowed) > 1:
                # What was sent and not acknowledged may be there or not. From now on it is known.
                self._write([block])
            else:
                self._acknowledged[block] = allowed[0]

    def _check(self, block, allowed):
        data = bytes(self._handle.pread(BLOCK, block * BLOCK))
        if not any(data == content(block, number) for number in allowed):
            begins = [content(block, number)[:16].hex() for number in allowed]
            print(f'block {block}: begins with {data[:16].hex()}, but may have the writes {allowed} '
                  f'only, which begin with {begins}', flush=True)
            sys.exit(WRONG)

    def _write(self, blocks):
        cookies = {}
        for block in blocks:
            self._number += 1
            self._note('w', block, self._number)
            data = nbd.Buffer.from_bytearray(bytearray(content(block, self._number)))
            flags = nbd.CMD_FLAG_FUA if self._random.random() < 0.1 else 0
            cookies[self._handle.aio_pwrite(data, block * BLOCK, flags=flags)] = (
                block, self._number)
        while cookies:
            self._handle.poll(-1)
            for cookie in [c for c in cookies if self._handle.aio_command_completed(c)]:
                block, number = cookies.pop(cookie)
                self._note('a', block, number)
                self._acknowledged[block] = number

    def work(self):
        """Until SIGTERM."""
        stopped = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
        while not stopped:
            self._write(self._random.sample(self._blocks, DEPTH))
            if self._random.random() < 0.3:
                block = self._random.choice(self._blocks)
                self._check(block, [self._acknowledged[block]])
            if self._random.random() < 0.1:
                self._handle.flush()

        self._handle.shutdown()

    def connected(self):
        return not (self._handle.aio_is_dead() or self._handle.aio_is_closed())


def main():
    uri, first, count, journal_path, seed = sys.argv[1:]
    try:
        client = JournalClient(uri, int(first), int(count), journal_path, seed)
    except nbd.Error as error:
        print(f'no connection: {error}', flush=True)
        sys.exit(GONE)
    try:
        client.verify()
        print('verified', flush=True)
        client.work()
    except nbd.Error as error:
        print(f'{"I/O error" if client.connected() else "nbdkit is gone"}: {error}', flush=True)
        sys.exit(IO_ERROR if client.connected() else GONE)


if __name__ == '__main__':
    main()
