"""Zeroing and trimming, down to what is left of the file on the server."""

import nbd

from lib.checks import check, check_equal, check_raises

MIB = 1 << 20


def _allocated(path):
    return path.stat().st_blocks * 512


def _whole(handle, operation, size, *flags):
    """One request cannot be larger than 4 GiB - 1: in large steps."""
    step = 1 << 30
    for offset in range(0, size, step):
        operation(min(step, size - offset), offset, *flags)


def test_zero_of_a_whole_device(env):
    image = env.image('disk', 64 * MIB, filled=True)
    nbdkit = env.nbdkit(env.server(), 'disk')
    with nbdkit.connect() as handle:
        _whole(handle, handle.zero, 64 * MIB)
        handle.flush()
    check(not any(image.read_bytes()), 'the image is not zero')


def test_zero_of_a_large_sparse_device(env):
    """Must not be sent as data over the wire: nobody waits for 64 GiB."""
    size = 64 << 30
    image = env.image('disk', size)
    with open(image, 'r+b') as data:
        data.seek(size - 4096)
        data.write(b'x' * 4096)
    nbdkit = env.nbdkit(env.server(), 'disk')
    with nbdkit.connect() as handle:
        _whole(handle, handle.zero, size)
        handle.flush()
        check_equal(bytes(handle.pread(4096, size - 4096)), bytes(4096), 'end of the disk')
    check(_allocated(image) < 1 << 30, 'zeroing has filled the file')


def test_trim_of_a_whole_device(env):
    image = env.image('disk', 64 * MIB, filled=True)
    before = _allocated(image)
    nbdkit = env.nbdkit(env.server(), 'disk')
    with nbdkit.connect() as handle:
        _whole(handle, handle.trim, 64 * MIB)
        handle.flush()
    check(_allocated(image) < before // 8, f'{_allocated(image)} of {before} bytes still there')


def test_zero_without_hole_keeps_the_space(env):
    image = env.image('disk', 16 * MIB, filled=True)
    nbdkit = env.nbdkit(env.server(), 'disk')
    with nbdkit.connect() as handle:
        handle.zero(16 * MIB, 0, nbd.CMD_FLAG_NO_HOLE)
        handle.flush()
    check(not any(image.read_bytes()), 'the image is not zero')
    check(_allocated(image) >= 16 * MIB, 'the space was given back')


def test_trim_leaves_the_neighbours(env):
    image = env.image('disk', 4 * MIB, filled=True)
    before = image.read_bytes()
    nbdkit = env.nbdkit(env.server(), 'disk')
    with nbdkit.connect() as handle:
        handle.trim(1 * MIB, 1 * MIB)
        handle.zero(777, 3 * MIB + 55)
        handle.flush()
    after = image.read_bytes()
    check(after[:MIB] == before[:MIB], 'bytes in front of the trimmed range')
    check(after[2 * MIB:3 * MIB + 55] == before[2 * MIB:3 * MIB + 55], 'bytes between')
    check(after[3 * MIB + 55 + 777:] == before[3 * MIB + 55 + 777:], 'bytes behind the zeroes')


def test_fast_zero_is_fast_or_refused(env):
    """Our own server writes zeroes itself, so a fast zero either works or says ENOTSUP."""
    image = env.image('disk', 16 * MIB, filled=True)
    nbdkit = env.nbdkit(env.server(), 'disk')
    with nbdkit.connect() as handle:
        check(handle.can_fast_zero(), 'fast zero is not offered')
        try:
            handle.zero(16 * MIB, 0, nbd.CMD_FLAG_FAST_ZERO)
        except nbd.Error as error:
            check(error.errno in ('ENOTSUP', 'EOPNOTSUPP'), f'errno {error.errno}')
            return
        handle.flush()
    check(not any(image.read_bytes()), 'the image is not zero')


def test_read_only_refuses_zero_and_trim(env):
    image = env.image('disk', 1 * MIB, filled=True)
    before = image.read_bytes()
    nbdkit = env.nbdkit(env.server(), 'disk', access_mode='ro')
    with nbdkit.connect() as handle:
        check(handle.is_read_only(), 'an ro mapping is exported writable')
        handle.set_strict_mode(0)
        for refused in ((handle.zero, 4096, 0), (handle.trim, 4096, 0),
                        (handle.pwrite, bytes(4096), 0)):
            error = check_raises(nbd.Error, *refused)
            check(error.errno in ('EROFS', 'EPERM'), f'errno {error.errno}')
    check(image.read_bytes() == before, 'a read-only disk was changed')
