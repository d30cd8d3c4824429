"""Data goes in and comes out unchanged, through every tool a user has."""

import json

from lib.checks import check, check_equal, sha256

MIB = 1 << 20


def test_nbdinfo_shows_size_and_abilities(env):
    env.image('disk', 48 * MIB)
    nbdkit = env.nbdkit(env.server(), 'disk')
    done = env.run('nbdinfo', '--json', nbdkit.uri())
    export = json.loads(done.stdout)['exports'][0]
    check_equal(export['export-size'], 48 * MIB, 'size')
    for ability in ('can_flush', 'can_fua', 'can_trim', 'can_zero', 'can_multi_conn'):
        check(export[ability], f'{ability} is off')
    check(not export['is_read_only'], 'the export is read-only')
    check('disk' in export['description'], f'description: {export["description"]}')
    check(1 <= export['block_size_minimum'] <= export['block_size_preferred'], 'block sizes')


def test_nbdcopy_out(env):
    image = env.image('disk', 100 * MIB, filled=True)
    nbdkit = env.nbdkit(env.server(), 'disk')
    env.run('nbdcopy', nbdkit.uri(), env.tmp / 'copy')
    check_equal(sha256(env.tmp / 'copy'), sha256(image), 'checksum of the copy')


def test_nbdcopy_in(env):
    image = env.image('disk', 100 * MIB)
    source = env.image('source', 100 * MIB, filled=True)
    nbdkit = env.nbdkit(env.server(), 'disk')
    env.run('nbdcopy', '--flush', source, nbdkit.uri())
    check_equal(sha256(image), sha256(source), 'checksum on the server')


def test_nbdcopy_from_one_server_to_another(env):
    image = env.image('a', 32 * MIB, filled=True)
    copy = env.image('b', 32 * MIB)
    here = env.nbdkit(env.server(), 'a')
    there = env.nbdkit(env.server(), 'b')
    env.run('nbdcopy', '--flush', here.uri(), there.uri())
    check_equal(sha256(copy), sha256(image), 'checksum on the other server')


def test_nbdcopy_of_a_size_that_is_no_multiple_of_4k(env):
    image = env.image('disk', 3 * MIB + 512 * 7, filled=True)
    nbdkit = env.nbdkit(env.server(), 'disk')
    env.run('nbdcopy', nbdkit.uri(), env.tmp / 'copy')
    check_equal(sha256(env.tmp / 'copy'), sha256(image), 'checksum of the copy')


def test_qemu_img_converts_and_compares(env):
    image = env.image('disk', 40 * MIB, filled=True)
    env.image('target', 40 * MIB)
    server = env.server()
    source = env.nbdkit(server, 'disk')
    target = env.nbdkit(server, 'target')
    env.run('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', source.uri(), target.uri())
    env.run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source.uri(), target.uri())
    env.run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', image, target.uri())


def test_qemu_io_patterns(env):
    env.image('disk', 8 * MIB)
    nbdkit = env.nbdkit(env.server(), 'disk')
    commands = ['write -P 0x11 0 64k', 'write -P 0x22 65000 3000', 'write -f -P 0x33 1m 1m',
                'write -z 1536k 64k', 'discard 3m 1m', 'flush', 'read -P 0x11 0 65000',
                'read -P 0x22 65000 3000', 'read -P 0x33 1m 512k', 'read -P 0 1536k 64k',
                'read -P 0x33 1600k 448k', 'aio_write -P 0x44 5m 2m', 'aio_flush',
                'read -P 0x44 5m 2m']
    words = [word for command in commands for word in ('-c', command)]
    done = env.run('qemu-io', '-f', 'raw', *words, nbdkit.uri())
    # qemu-io reports a wrong pattern in words only.
    check('Pattern verification failed' not in done.stdout, done.stdout)


def _fio_verify(env, *options):
    env.image('disk', 64 * MIB)
    nbdkit = env.nbdkit(env.server(), 'disk')
    done = env.run('fio', '--name=verify', '--ioengine=nbd', f'--uri={nbdkit.uri()}',
                   '--size=64m', '--verify=crc32c', '--do_verify=1', '--verify_fatal=1',
                   '--output-format=json', f'--aux-path={env.tmp}', *options, patience=240)
    job = json.loads(done.stdout[done.stdout.find('{'):])['jobs'][0]
    check_equal(job['error'], 0, 'fio error')
    check(job['read']['total_ios'] > 0, 'fio has verified nothing')


def test_fio_verify_4k(env):
    _fio_verify(env, '--rw=randwrite', '--bs=4k', '--iodepth=32')


def test_fio_verify_mixed_sizes(env):
    _fio_verify(env, '--rw=randwrite', '--bsrange=512-512k', '--bs_unaligned=0', '--iodepth=16')


def test_fio_verify_with_flushes(env):
    _fio_verify(env, '--rw=randwrite', '--bs=16k', '--iodepth=8', '--fsync=16')


def test_data_survives_a_server_restart(env):
    env.image('disk', 16 * MIB)
    source = env.image('source', 16 * MIB, filled=True)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk')
    env.run('nbdcopy', '--flush', source, nbdkit.uri())
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')
    check_equal(server.stop(), 0, 'exit code of rnbd-server')
    again = env.nbdkit(env.server(), 'disk')
    env.run('nbdcopy', again.uri(), env.tmp / 'copy')
    check_equal(sha256(env.tmp / 'copy'), sha256(source), 'checksum after the restart')
