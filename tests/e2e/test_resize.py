"""Disks that are resized while they are in use."""

import errno

import nbd

from lib.checks import check, check_equal, check_in, check_raises
from lib.process import wait_until

MIB = 1 << 20


def _size(env, nbdkit, export=''):
    """What a new NBD client is told."""
    return int(env.run('nbdinfo', '--size', nbdkit.uri(export)).stdout)


def _resize(env, image, nbdkit, size):
    """Changes the size on the server's side; returns when nbdkit knows it."""
    with open(image, 'r+b') as disk:
        disk.truncate(size)
    env.wait_for_output(nbdkit, f'has {size} bytes now')


def _works(env, handle, offset):
    data = env.random.randbytes(4096)
    handle.pwrite(data, offset)
    handle.flush()
    check(bytes(handle.pread(4096, offset)) == data, f'other data at {offset}')


def test_growth_is_there_for_the_next_client(env):
    image = env.image('disk', MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk')
    with nbdkit.connect() as before:
        _works(env, before, 0)
        _resize(env, image, nbdkit, 4 * MIB)
        check_in(f'{MIB} to {4 * MIB} bytes', server.output())
        check_in('its client is told', server.output())
        check_equal(_size(env, nbdkit), 4 * MIB, 'size for a new client')
        with nbdkit.connect() as after:
            _works(env, after, 4 * MIB - 4096)
            _works(env, before, 0)
            # NBD tells the size once, at the start of a connection.
            check_equal(before.get_size(), MIB, 'size of the old connection')
            before.set_strict_mode(0)
            error = check_raises(nbd.Error, before.pread, 4096, MIB)
            check_equal(error.errnum, errno.EINVAL, 'errno beyond the old size')
    check_equal(image.stat().st_size, 4 * MIB, 'size of the image')
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')
    check_equal(server.output().count('(disk) closed'), 1, 'closes of the disk')


def test_growth_of_an_export(env):
    """Without device_path= too, where the disk is mapped as long as it is used."""
    image = env.image('disk', MIB)
    nbdkit = env.nbdkit(env.server())
    with nbdkit.connect('disk') as handle:
        _works(env, handle, 0)
        _resize(env, image, nbdkit, 2 * MIB)
        check_equal(_size(env, nbdkit, 'disk'), 2 * MIB, 'size for a new client')
        with nbdkit.connect('disk') as after:
            _works(env, after, 2 * MIB - 4096)


def test_beyond_the_end_of_a_shrunk_disk(env):
    image = env.image('disk', 4 * MIB)
    nbdkit = env.nbdkit(env.server(), 'disk')
    with nbdkit.connect() as handle:
        _works(env, handle, 3 * MIB)
        _resize(env, image, nbdkit, 2 * MIB)
        _works(env, handle, MIB)
        for what, wanted in ((lambda: handle.pread(4096, 2 * MIB), errno.EINVAL),
                             (lambda: handle.trim(4096, 2 * MIB), errno.EINVAL),
                             (lambda: handle.pwrite(bytes(8192), 2 * MIB - 4096), errno.ENOSPC),
                             (lambda: handle.zero(4096, 2 * MIB), errno.ENOSPC)):
            check_equal(check_raises(nbd.Error, what).errnum, wanted, 'errno')
        env.wait_for_output(nbdkit, f'it had {4 * MIB} when it was mapped')
        check_equal(_size(env, nbdkit), 2 * MIB, 'size for a new client')
        # And back.
        _resize(env, image, nbdkit, 4 * MIB)
        _works(env, handle, 3 * MIB)
    check_equal(image.stat().st_size, 4 * MIB, 'size of the image')


def test_every_client_of_the_disk_is_told(env):
    image = env.image('disk', MIB)
    server = env.server()
    writer = env.nbdkit(server, 'disk')
    reader = env.nbdkit(server, 'disk', access_mode='ro')
    _resize(env, image, writer, 2 * MIB)
    env.wait_for_output(reader, f'has {2 * MIB} bytes now')
    for nbdkit in (writer, reader):
        check_equal(_size(env, nbdkit), 2 * MIB, 'size for a new client')


def test_growth_while_the_server_is_away(env):
    image = env.image('disk', MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk')
    with nbdkit.connect() as handle:
        _works(env, handle, 0)
        server.kill()
        with open(image, 'r+b') as disk:
            disk.truncate(2 * MIB)
        env.server(port=server.port)
        env.wait_for_output(nbdkit, f'has {2 * MIB} bytes now')
        _works(env, handle, 0)
        with nbdkit.connect() as after:
            _works(env, after, 2 * MIB - 4096)


def test_resized_under_load(env):
    """Requests go on while the size is asked for, and none fails."""
    image = env.image('disk', 16 * MIB)
    nbdkit = env.nbdkit(env.server(), 'disk')
    fio = env.start('fio', 'fio', '--name=verify', '--ioengine=nbd', f'--uri={nbdkit.uri()}',
                    '--rw=randwrite', '--bs=4k', '--iodepth=8', '--size=16m', '--rate=2m',
                    '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--fsync=64')
    wait_until(lambda: image.stat().st_blocks > 0, 'first write', fio)
    for mib in (32, 16, 24):
        _resize(env, image, nbdkit, mib * MIB)
    check_equal(fio.wait(), 0, 'exit code of fio')
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')
