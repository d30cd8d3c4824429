"""Servers and paths that go away and come back under load: no error, no wrong data."""

import signal
import subprocess
import threading

import nbd

from lib.checks import check, check_equal, check_raises
from lib.process import wait_until

MIB = 1 << 20
BOTH = ('--listen', '127.0.0.2')  # beside 127.0.0.1


def _fio(env, nbdkit, *options):
    """fio over NBD that verifies all it wrote; slow enough to be disturbed."""
    return env.start('fio', 'fio', '--name=verify', '--ioengine=nbd', f'--uri={nbdkit.uri()}',
                     '--rw=randwrite', '--bs=4k', '--iodepth=8', '--size=32m', '--rate=8m',
                     '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0',
                     '--randrepeat=0', *options)


def _restart(env, server, *flags):
    server.kill()
    return env.server(*flags, port=server.port)


def _written(env, name):
    return (env.directory() / name).stat().st_blocks * 512


def test_server_killed_and_restarted_under_load(env):
    env.image('disk', 32 * MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk')
    # Flushes succeed too: the machine lives, and so does what was answered.
    fio = _fio(env, nbdkit, '--fsync=64')
    for mib in (2, 8, 16):
        wait_until(lambda m=mib: _written(env, 'disk') >= m * MIB, f'{mib} MiB written', fio)
        server = _restart(env, server)
    check_equal(fio.wait(), 0, 'exit code of fio')
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_requests_wait_for_a_server_that_is_away(env):
    env.image('disk', MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk')
    with nbdkit.connect() as handle:
        handle.pwrite(b'a' * 4096, 0)
        server.kill()
        data = []
        reader = threading.Thread(target=lambda: data.append(bytes(handle.pread(4096, 0))),
                                  daemon=True)
        reader.start()
        env.wait_for_output(nbdkit, 'no path left')
        check(reader.is_alive(), 'a request did not wait')
        env.server(port=server.port)
        reader.join(timeout=60)
        check_equal(data, [b'a' * 4096], 'what was read')


def test_fail_fast_does_not_wait(env):
    env.image('disk', MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk', fail_fast='yes')
    with nbdkit.connect() as handle:
        server.kill()
        check_raises(nbd.Error, handle.pread, 4096, 0)
        server = env.server(port=server.port)

        def works():
            try:
                handle.pread(4096, 0)
                return True
            except nbd.Error:
                return False

        wait_until(works, 'read after the restart', nbdkit)


def test_server_with_other_depth_and_chunks(env):
    env.image('disk', 8 * MIB)
    server = env.server('--sess_queue_depth', '128', '--max_chunk_size', '131072')
    nbdkit = env.nbdkit(server, 'disk')
    with nbdkit.connect() as handle:
        for depth, chunk in ((16, 16384), (512, 262144)):
            server = _restart(env, server, '--sess_queue_depth', depth, '--max_chunk_size', chunk)
            data = env.random.randbytes(MIB)
            handle.pwrite(data, 3 * MIB)
            check(bytes(handle.pread(MIB, 3 * MIB)) == data, f'other data with depth {depth}')


def test_changed_device_is_not_written_to(env):
    image = env.image('disk', 2 * MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk')
    with nbdkit.connect() as handle:
        handle.pwrite(b'a' * 4096, 0)
        server.kill()
        image.unlink()
        image = env.image('disk', MIB)  # a larger one may be the same, grown
        env.server(port=server.port)
        check_raises(nbd.Error, handle.pwrite, b'b' * 4096, 0)
        env.wait_for_output(nbdkit, 'another device')
    check_equal(image.read_bytes()[:4096], bytes(4096), 'the new disk')


def _cut(address, port):
    """Ends all connections to the server's `address`, at both ends; false if the
    system cannot."""
    done = subprocess.run(['ss', '-K', '-t', 'dst', address, 'dport', '=', str(port)],
                          capture_output=True, text=True, check=False)
    return done.returncode == 0 and 'ESTAB' in done.stdout


def _two_paths(env, server, **kwargs):
    return env.nbdkit_with(
        [*env.parameters(server, 'disk', **kwargs), 'path=ip:127.0.0.2'])


def test_one_of_two_paths_is_cut_under_load(env):
    env.image('disk', 32 * MIB)
    server = env.server(*BOTH)
    nbdkit = _two_paths(env, server)
    wait_until(lambda: server.output().count(' is up with ') == 2, 'two paths', nbdkit)
    fio = _fio(env, nbdkit)
    for count, (mib, address) in enumerate(((2, '127.0.0.1'), (8, '127.0.0.2'),
                                            (16, '127.0.0.1'))):
        wait_until(lambda m=mib: _written(env, 'disk') >= m * MIB, f'{mib} MiB written', fio)
        if not _cut(address, server.port):
            env.skip('ss -K does not work here')
        wait_until(lambda n=count: server.output().count(' is up with ') == n + 3,
                   'path that is back', nbdkit)
    check_equal(fio.wait(), 0, 'exit code of fio')
    check('no path left' not in nbdkit.output(), 'both paths were lost')
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_both_paths_are_cut_under_load(env):
    env.image('disk', 32 * MIB)
    server = env.server(*BOTH)
    nbdkit = _two_paths(env, server, mp_policy='round-robin')
    fio = _fio(env, nbdkit)
    for mib in (2, 8, 16):
        wait_until(lambda m=mib: _written(env, 'disk') >= m * MIB, f'{mib} MiB written', fio)
        if not _cut('127.0.0.1', server.port) or not _cut('127.0.0.2', server.port):
            env.skip('ss -K does not work here')
    check_equal(fio.wait(), 0, 'exit code of fio')
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_session_comes_up_with_the_path_that_works(env):
    env.image('disk', MIB)
    server = env.server()  # not on the second address
    nbdkit = _two_paths(env, server)
    with nbdkit.connect() as handle:
        handle.pwrite(b'a' * 512, 0)
        check_equal(bytes(handle.pread(512, 0)), b'a' * 512, 'first block')


def test_server_that_hangs_is_given_up_by_heartbeat(env):
    env.image('disk', MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk', heartbeat_interval='200ms')
    with nbdkit.connect() as handle:
        handle.pwrite(b'a' * 4096, 0)
        server.signal(signal.SIGSTOP)
        env.wait_for_output(nbdkit, 'no sign of life')
        server.signal(signal.SIGCONT)
        check_equal(bytes(handle.pread(4096, 0)), b'a' * 4096, 'first block')


def test_nbdkit_ends_while_requests_wait(env):
    env.image('disk', MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk')
    with nbdkit.connect() as handle:
        server.kill()
        reader = threading.Thread(target=check_raises, args=(nbd.Error, handle.pread, 512, 0),
                                  daemon=True)
        reader.start()
        env.wait_for_output(nbdkit, 'no path left')
        nbdkit.signal(signal.SIGTERM)
        reader.join(timeout=60)
        check(not reader.is_alive(), 'the reader hangs')
    check_equal(nbdkit.wait(), 0, 'exit code of nbdkit')
