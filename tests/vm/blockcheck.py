#!/usr/bin/env python3
"""blockcheck.py DEVICE: writes and reads back requests of every kind and size.

Direct I/O of sizes from 512 bytes to beyond what fits into one RNBD request, at
the beginning, odd sectors and the end; flush; FUA; discard; write zeroes. Each
step says what it does, so that a failure names it.
"""
import errno
import fcntl
import mmap
import os
import random
import struct
import sys

BLKDISCARD = 0x1277
BLKZEROOUT = 0x127F
# Around what a request carries: 126976 at the kernel's server, 131072 at ours.
SIZES = [512, 1024, 4096, 4608, 65536, 126464, 126976, 127488, 130560, 131072, 131584, 262144]


def pattern(length, seed):
    return random.Random(seed).randbytes(length)


class Device:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_DIRECT)
        self.size = os.lseek(self.fd, 0, os.SEEK_END)
        self.sector = int(open('/sys/class/block/%s/queue/logical_block_size'
                               % os.path.basename(path)).read())

    def write(self, offset, data, flags=0):
        buf = mmap.mmap(-1, len(data))
        buf[:] = data
        if os.pwritev(self.fd, [buf], offset, flags) != len(data):
            sys.exit('short write at %d' % offset)

    def read(self, offset, length):
        buf = mmap.mmap(-1, length)
        if os.preadv(self.fd, [buf], offset) != length:
            sys.exit('short read at %d' % offset)
        return buf[:]

    def expect(self, offset, data, what):
        got = self.read(offset, len(data))
        if got != data:
            at = next(i for i in range(len(data)) if got[i] != data[i])
            sys.exit('%s: %d bytes at %d differ from byte %d on'
                     % (what, len(data), offset, at))

    def ioctl(self, request, offset, length):
        fcntl.ioctl(self.fd, request, struct.pack('QQ', offset, length))


def main():
    dev = Device(sys.argv[1])
    for size in SIZES:
        if size % dev.sector:
            continue
        for offset in (0, 7 * dev.sector, dev.size - size):
            data = pattern(size, size + offset)
            dev.write(offset, data)
            dev.expect(offset, data, 'write')
    print('sizes: ok')
    os.fsync(dev.fd)
    data = pattern(8192, 1)
    dev.write(1 << 20, data, os.RWF_DSYNC)
    dev.expect(1 << 20, data, 'FUA write')
    print('flush, FUA: ok')
    around = pattern(1 << 20, 2)
    dev.write(2 << 20, around)
    dev.ioctl(BLKZEROOUT, (2 << 20) + 4096, 65536)
    expected = around[:4096] + bytes(65536) + around[4096 + 65536:]
    dev.expect(2 << 20, expected, 'write zeroes')
    print('zeroes: ok')
    try:
        dev.ioctl(BLKDISCARD, (2 << 20) + 131072, 65536)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        print('discard: the device has none')
    else:
        # What a discarded block reads as is not defined; its neighbours are.
        dev.expect(2 << 20, expected[:131072], 'before the discard')
        dev.expect((2 << 20) + 196608, expected[196608:], 'after the discard')
        print('discard: ok')


main()
