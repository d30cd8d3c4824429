"""One side dies while data flows: errors in time, nothing held for ever."""

import signal
import threading
import time

import nbd

from lib.checks import check, check_equal, check_raises
from lib.process import wait_until

MIB = 1 << 20


class Writer(threading.Thread):
    """Writes without end until an error, which it keeps."""

    def __init__(self, nbdkit):
        super().__init__(daemon=True)
        self._nbdkit = nbdkit
        self.written = 0
        self.error = None
        self.ended_at = None

    def run(self):
        try:
            with self._nbdkit.connect() as handle:
                while True:
                    handle.pwrite(b'w' * 65536, self.written % 16 * 65536)
                    self.written += 1
        except nbd.Error as error:
            self.error = error
        self.ended_at = time.monotonic()


def _writers(nbdkit, count=4):
    writers = [Writer(nbdkit) for _ in range(count)]
    for writer in writers:
        writer.start()
    for writer in writers:
        wait_until(lambda w=writer: w.written > 20 or w.error, 'written blocks', nbdkit)
        check(writer.error is None, f'a write failed before anything died: {writer.error}')
    return writers


def test_server_killed_while_clients_write(env):
    env.image('disk', MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk', io_timeout=3)
    writers = _writers(nbdkit)
    server.kill()
    for writer in writers:
        writer.join(timeout=60)
        check(not writer.is_alive(), 'a writer hangs')
        check(writer.error is not None, 'a writer ended without an error')
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_server_stopped_while_clients_write(env):
    """A server that answers nothing at all, as if its machine hung."""
    env.image('disk', MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk', io_timeout=3)
    writers = _writers(nbdkit)
    server.signal(signal.SIGSTOP)
    for writer in writers:
        writer.join(timeout=60)
        check(not writer.is_alive(), 'a writer hangs')
        check(writer.error is not None, 'a writer ended without an error')
    server.signal(signal.SIGCONT)
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_nbdkit_ends_while_the_server_is_dead(env):
    env.image('disk', MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk')
    server.kill()
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_nbdkit_killed_while_writing(env):
    """The server frees the device; the next writer, of the same name too, gets in."""
    env.image('disk', MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk', sessname='again')
    writers = _writers(nbdkit)
    nbdkit.kill()
    for writer in writers:
        writer.join(timeout=60)
        check(not writer.is_alive(), 'a writer hangs')
    again = _next_writer(env, server, 'again')
    with again.connect() as handle:
        handle.pwrite(b'n' * 512, 0)
        handle.flush()
    check_equal((env.directory() / 'disk').read_bytes()[:512], b'n' * 512, 'first block')
    check_equal(server.poll(), None, 'exit code of rnbd-server')


def _next_writer(env, server, name):
    """The death of a process closes its connections at once; the server may still
    be finishing requests, so a refusal as second writer is tried again."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return env.nbdkit(server, 'disk', sessname=name)
        except AssertionError:
            if time.monotonic() > deadline:
                raise


def test_other_sessions_do_not_notice(env):
    env.image('disk', MIB)
    env.image('other', MIB)
    server = env.server()
    bystander = env.nbdkit(server, 'other')
    with bystander.connect() as handle:
        for _ in range(5):
            victim = _next_writer(env, server, env.sessname())
            _writers(victim)
            victim.kill()
            data = env.random.randbytes(65536)
            handle.pwrite(data, 0)
            check(bytes(handle.pread(65536, 0)) == data, 'the bystander reads something else')


def test_nbd_client_killed_while_writing(env):
    """nbdkit outlives its clients; requests in flight do no harm."""
    env.image('disk', 64 * MIB)
    source = env.image('source', 64 * MIB, filled=True)
    nbdkit = env.nbdkit(env.server(), 'disk')
    for _ in range(5):
        copy = env.start('nbdcopy', 'nbdcopy', '--requests=64', source, nbdkit.uri())
        wait_until(lambda: (env.directory() / 'disk').stat().st_blocks > 0, 'first block', copy)
        copy.signal(signal.SIGKILL)
        copy.wait()
        with nbdkit.connect() as handle:
            handle.trim(64 * MIB, 0)
            handle.pwrite(b'x' * 512, 0)
            handle.flush()
            check_equal(bytes(handle.pread(512, 0)), b'x' * 512, 'first block')
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_flush_after_the_server_died_fails(env):
    """What was acknowledged and may be lost must not be flushed successfully."""
    env.image('disk', MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk', io_timeout=3)
    with nbdkit.connect() as handle:
        handle.pwrite(b'x' * 4096, 0)
        server.kill()
        check_raises(nbd.Error, handle.flush)
