"""Requests of odd sizes and places, held against a model in memory."""

import nbd

from lib.checks import check, check_equal, check_raises

KIB, MIB = 1 << 10, 1 << 20
LARGEST = 4 * MIB


def _random_range(env, size, largest):
    """Short and odd ranges are as likely as long and aligned ones."""
    length = min(env.random.choice((1, 2, 511, 512, 513, 4095, 4096, 4097, 126976, 126977,
                                    131072, env.random.randint(1, largest))), size)
    offset = env.random.randint(0, size - length)
    if env.random.random() < 0.3:
        offset = env.random.choice((0, size - length, offset // 4096 * 4096,
                                    offset // 512 * 512))
    return length, offset


def _one_operation(env, handle, model):
    size = len(model)
    length, offset = _random_range(env, size, 300 * KIB)
    end = offset + length
    kind = env.random.choice(('read', 'read', 'write', 'write', 'zero', 'trim'))
    if kind == 'read':
        check_equal(bytes(handle.pread(length, offset)) == bytes(model[offset:end]), True,
                    f'read of {length} at {offset} is what was written')
    elif kind == 'write':
        data = env.random.randbytes(length)
        handle.pwrite(data, offset, env.random.choice((0, nbd.CMD_FLAG_FUA)))
        model[offset:end] = data
    elif kind == 'zero':
        handle.zero(length, offset, env.random.choice((0, nbd.CMD_FLAG_NO_HOLE,
                                                       nbd.CMD_FLAG_FUA)))
        model[offset:end] = bytes(length)
    else:
        handle.trim(length, offset)
        # What a trimmed range reads as is nobody's promise: look, and hold on to it.
        model[offset:end] = bytes(handle.pread(length, offset))


def _run_model(env, size, count, *server_flags):
    image = env.image('disk', size, filled=True)
    model = bytearray(image.read_bytes())
    nbdkit = env.nbdkit(env.server(*server_flags), 'disk')
    with nbdkit.connect() as handle:
        for _ in range(count):
            _one_operation(env, handle, model)
        handle.flush()
        check(bytes(handle.pread(min(size, LARGEST), 0)) == bytes(model[:LARGEST]),
              'the beginning of the disk differs from the model')
    check(image.read_bytes() == bytes(model), 'the image differs from the model')


def test_random_operations(env):
    _run_model(env, 8 * MIB, 400)


def test_random_operations_on_a_tiny_disk(env):
    _run_model(env, 512, 300)


def test_random_operations_on_a_disk_of_odd_sectors(env):
    _run_model(env, 1 * MIB + 3 * 512, 300)


def test_random_operations_with_small_chunks(env):
    """max_io_size is far smaller than most requests here."""
    _run_model(env, 2 * MIB, 200, '--max_chunk_size', '8192')


def test_single_bytes(env):
    """Each byte of two sectors is written alone and leaves its neighbours be."""
    image = env.image('disk', 4096, filled=True)
    wanted = bytearray(image.read_bytes())
    nbdkit = env.nbdkit(env.server(), 'disk')
    with nbdkit.connect() as handle:
        for offset in range(300, 300 + 1024, 3):
            wanted[offset] ^= 0xff
            handle.pwrite(bytes([wanted[offset]]), offset)
            check_equal(bytes(handle.pread(1, offset))[0], wanted[offset], f'byte {offset}')
        handle.flush()
    check(image.read_bytes() == bytes(wanted), 'a neighbour was changed')


def test_neighbouring_bytes_at_once(env):
    """Many one-byte writes into one sector in flight: none may undo another."""
    image = env.image('disk', 4096)
    nbdkit = env.nbdkit(env.server(), 'disk')
    wanted = env.random.randbytes(512)
    with nbdkit.connect() as handle:
        for first in range(0, 512, 64):
            cookies = [handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([wanted[i]])), i)
                       for i in range(first, first + 64)]
            while cookies:
                handle.poll(-1)
                cookies = [c for c in cookies if not handle.aio_command_completed(c)]
        handle.flush()
    check(image.read_bytes()[:512] == wanted, 'a write to a neighbour was lost')


def test_requests_larger_than_max_io_size(env):
    """The default max_io_size is 124 KiB, NBD requests go up to 32 MiB."""
    size = 40 * MIB
    image = env.image('disk', size)
    data = env.random.randbytes(32 * MIB)
    nbdkit = env.nbdkit(env.server(), 'disk')
    with nbdkit.connect() as handle:
        handle.pwrite(data, 12345)
        check(bytes(handle.pread(len(data), 12345)) == data, 'read differs from write')
        handle.zero(20 * MIB, 1 * MIB)
        handle.flush()
    stored = image.read_bytes()
    wanted = bytearray(size)
    wanted[12345:12345 + len(data)] = data
    wanted[1 * MIB:21 * MIB] = bytes(20 * MIB)
    check(stored == bytes(wanted), 'the image differs')


def test_request_beyond_the_end(env):
    env.image('disk', 1 * MIB)
    nbdkit = env.nbdkit(env.server(), 'disk')
    with nbdkit.connect() as handle:
        handle.set_strict_mode(0)
        for offset, length in ((1 * MIB, 512), (1 * MIB - 512, 1024), (1 << 62, 4096),
                               ((1 << 63) - 1, 1)):
            # NBD wants EINVAL for reads and ENOSPC for writes.
            error = check_raises(nbd.Error, handle.pread, length, offset)
            check(error.errno in ('EINVAL', 'ENOSPC'), f'pread at {offset}: {error.errno}')
            error = check_raises(nbd.Error, handle.pwrite, bytes(length), offset)
            check(error.errno in ('EINVAL', 'ENOSPC'), f'pwrite at {offset}: {error.errno}')
        handle.pwrite(bytes(512), 1 * MIB - 512)
