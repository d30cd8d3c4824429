#!/usr/bin/env python3
"""errnocheck.py TARGET STEP...: requests to a block device or, by libnbd, an NBD URI, and
how each must end.

STEP: read@OFFSET, write@OFFSET or flush, then =ok or =ERRNO, as in write@4096=ENOSPC.
Each reads or writes 4096 bytes; what was written here is held against what is read.
"""
import errno
import mmap
import os
import sys

import nbd

SIZE = 4096


class BlockDevice:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        self.buffer = mmap.mmap(-1, SIZE)

    def read(self, offset):
        if os.preadv(self.fd, [self.buffer], offset) != SIZE:
            sys.exit(f'short read at {offset}')
        return self.buffer[:]

    def write(self, offset, data):
        self.buffer[:] = data
        if os.pwritev(self.fd, [self.buffer], offset) != SIZE:
            sys.exit(f'short write at {offset}')

    def flush(self):
        os.fsync(self.fd)


class Nbd:
    def __init__(self, uri):
        self.handle = nbd.NBD()
        self.handle.connect_uri(uri)

    def read(self, offset):
        return bytes(self.handle.pread(SIZE, offset))

    def write(self, offset, data):
        self.handle.pwrite(data, offset)

    def flush(self):
        self.handle.flush()


def main():
    target = sys.argv[1]
    device = Nbd(target) if ':' in target else BlockDevice(target)
    written = {}
    for number, step in enumerate(sys.argv[2:]):
        request, _, expected = step.partition('=')
        what, _, offset = request.partition('@')
        try:
            if what == 'flush':
                device.flush()
            elif what == 'write':
                data = bytes([number + 1]) * SIZE
                device.write(int(offset), data)
                written[offset] = data
            else:
                data = device.read(int(offset))
                if written.get(offset, data) != data:
                    sys.exit(f'{target}: {request}: other data than was written')
            got = 'ok'
        except OSError as error:
            got = errno.errorcode[error.errno]
        except nbd.Error as error:
            got = error.errno
        if got != expected:
            sys.exit(f'{target}: {request}: {got}, not {expected}')
    print(f'{target}: ok')


main()
