"""What the server or the network refuses: a clear message and a right exit code."""

import errno
import os
import socket

import nbd

from lib.checks import check, check_equal, check_in, check_raises

MIB = 1 << 20


def _free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def test_nothing_listening(env):
    port = _free_port()
    text = env.nbdkit_fails(f'sessname={env.sessname()}', 'path=ip:127.0.0.1',
                            f'dest_port={port}', 'device_path=disk', 'io_timeout=20')
    check_in('127.0.0.1', text)
    check_in(str(port), text)
    check_in(('refused', 'nothing', 'no server', 'not listening'), text)


def test_wrong_address(env):
    """An address of this machine where the server does not listen."""
    env.image('disk', MIB)
    server = env.server()
    text = env.nbdkit_fails(*env.parameters(server, 'disk', path='ip:127.0.0.77',
                                            io_timeout=20))
    check_in('127.0.0.77', text)


def test_something_else_listens(env):
    """A server that speaks another protocol: an error, not a hang."""
    env.image('disk', MIB)
    port_file = env.tmp / 'port'
    script = ('import socket,sys\n'
              's=socket.socket(); s.bind(("127.0.0.1",0)); s.listen()\n'
              'open(sys.argv[1],"w").write(str(s.getsockname()[1]))\n'
              'while True:\n'
              '  c,_=s.accept(); c.sendall(b"220 mail.example ESMTP\\r\\n"*99); c.recv(999)\n')
    env.start('other', '/usr/bin/python3', '-c', script, port_file)
    port = env.wait_for_file(port_file)
    env.nbdkit_fails(f'sessname={env.sessname()}', 'path=ip:127.0.0.1', f'dest_port={port}',
                     'device_path=disk', 'io_timeout=20')


def test_no_such_device(env):
    text = env.nbdkit_fails(*env.parameters(env.server(), 'nothing-here'))
    check_in('nothing-here', text)
    check_in(('no such', 'ENOENT', 'not exist', 'not found'), text)


def test_no_such_export_name(env):
    env.image('disk', MIB)
    nbdkit = env.nbdkit(env.server())
    handle = nbd.NBD()
    check_raises(nbd.Error, handle.connect_uri, nbdkit.uri('nothing-here'))
    check_in('nothing-here', nbdkit.output())
    with nbdkit.connect('disk') as good:
        check_equal(good.get_size(), MIB, 'size of the good export after that')


def _outside(env):
    path = env.tmp / 'secret'
    path.write_bytes(b'secret' * 1024)
    return path


def test_dot_dot_is_refused(env):
    _outside(env)
    server = env.server()
    env.image('disk', MIB)
    for name in ('../secret', 'sub/../../secret', '..', 'sub/..'):
        env.nbdkit_fails(*env.parameters(server, name))


def test_symbolic_link_out_of_the_search_path_is_refused(env):
    outside = _outside(env)
    exports = env.directory()
    os.symlink(outside, exports / 'absolute')
    os.symlink('../secret', exports / 'relative')
    os.symlink('..', exports / 'up')
    server = env.server()
    for name in ('absolute', 'relative', 'up/secret'):
        env.nbdkit_fails(*env.parameters(server, name))


def test_symbolic_link_within_the_search_path_works(env):
    image = env.image('deep/disk', MIB)
    os.symlink('deep/disk', env.directory() / 'relative')
    os.symlink(image, env.directory() / 'absolute')
    server = env.server()
    for name in ('relative', 'absolute'):
        nbdkit = env.nbdkit(server, name)
        with nbdkit.connect() as handle:
            check_equal(handle.get_size(), MIB, f'size of {name}')
        check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_what_is_no_disk_is_refused(env):
    exports = env.directory()
    os.mkdir(exports / 'directory')
    os.mkfifo(exports / 'fifo')
    (exports / 'short').write_bytes(b'x' * 511)
    (exports / 'empty').write_bytes(b'')
    os.symlink('/dev/null', exports / 'null')
    server = env.server()
    for name in ('directory', 'fifo', 'null', 'empty', 'short'):
        env.nbdkit_fails(*env.parameters(server, name))


def test_session_name_in_the_search_path(env):
    """%SESSNAME% gives each session a directory of its own."""
    env.image('alice/disk', 1 * MIB)
    env.image('bob/disk', 2 * MIB)
    server = env.server(directory=f'{env.directory()}/%SESSNAME%')
    for name, size in (('alice', MIB), ('bob', 2 * MIB)):
        nbdkit = env.nbdkit(server, 'disk', sessname=name)
        with nbdkit.connect() as handle:
            check_equal(handle.get_size(), size, f'size for {name}')
        env.nbdkit_fails(*env.parameters(server, '../bob/disk', sessname=env.sessname()))


def test_second_writer_is_refused(env):
    env.image('disk', MIB)
    server = env.server()
    env.nbdkit(server, 'disk')
    text = env.nbdkit_fails(*env.parameters(server, 'disk'))
    check_in('disk', text)
    check_in(('writer', 'EPERM', 'not permitted', 'in use', 'busy'), text)


def test_second_writer_by_another_name_is_refused(env):
    """Writers are counted by inode, whatever the name."""
    image = env.image('disk', MIB)
    os.link(image, env.directory() / 'hard')
    os.symlink('disk', env.directory() / 'soft')
    server = env.server()
    env.nbdkit(server, 'disk')
    for name in ('hard', 'soft', './disk', '/disk'):
        env.nbdkit_fails(*env.parameters(server, name))


def test_readers_beside_a_writer(env):
    env.image('disk', MIB)
    server = env.server()
    writer = env.nbdkit(server, 'disk')
    reader = env.nbdkit(server, 'disk', access_mode='ro')
    another = env.nbdkit(server, 'disk', options=['-r'], access_mode='ro')
    with writer.connect() as out, reader.connect() as back, another.connect() as too:
        out.pwrite(b'w' * 512, 512)
        out.flush()
        check_equal(bytes(back.pread(512, 512)), b'w' * 512, 'first reader')
        check_equal(bytes(too.pread(512, 512)), b'w' * 512, 'second reader')


def test_migration_admits_a_second_writer(env):
    """As the kernel counts: at most one more, and only for those that ask for it."""
    env.image('disk', MIB)
    server = env.server()
    env.nbdkit(server, 'disk')
    env.nbdkit(server, 'disk', access_mode='migration')
    env.nbdkit_fails(*env.parameters(server, 'disk', access_mode='migration'))
    env.nbdkit_fails(*env.parameters(server, 'disk'))


def test_device_is_free_after_an_orderly_end(env):
    env.image('disk', MIB)
    server = env.server()
    for _ in range(5):
        check_equal(env.nbdkit(server, 'disk').stop(), 0, 'exit code of nbdkit')


def test_failed_open_leaves_nothing_behind(env):
    env.image('disk', MIB)
    server = env.server()
    for _ in range(10):
        env.nbdkit_fails(*env.parameters(server, 'nothing-here', sessname='same-name'))
    nbdkit = env.nbdkit(server, 'disk', sessname='same-name')
    with nbdkit.connect() as handle:
        handle.pwrite(bytes(512), 0)


def test_full_disk_is_enospc(env):
    """A write the server cannot store is an error, and the next one may succeed."""
    if os.geteuid() != 0:
        env.skip('needs root to mount a small tmpfs')
    small = env.tmp / 'small'
    small.mkdir()
    done = env.run('mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', small, status=None)
    if done.returncode != 0:
        env.skip(f'mount: {done.stderr.strip()}')
    try:
        with open(small / 'disk', 'wb') as image:
            image.truncate(8 * MIB)
        nbdkit = env.nbdkit(env.server(directory=small), 'disk')
        with nbdkit.connect() as handle:
            error = check_raises(nbd.Error, handle.pwrite, b'x' * (8 * MIB), 0)
            check_equal(error.errno, errno.errorcode[errno.ENOSPC], 'errno')
            handle.trim(8 * MIB, 0)
            handle.pwrite(b'y' * 4096, 0)
            check_equal(bytes(handle.pread(4096, 0)), b'y' * 4096, 'block')
        check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')
    finally:
        env.run('umount', '-l', small)


def test_session_name_in_use(env):
    """The message says what is wrong while the name is tried again."""
    env.image('disk', MIB)
    env.image('other', MIB)
    server = env.server()
    env.nbdkit(server, 'disk', sessname='taken')
    log = env.start('second', 'nbdkit', '-f', '-U', env.tmp / 'second.sock', env.plugin,
                    *env.parameters(server, 'other', sessname='taken'), preloaded=True)
    env.wait_for_output(log, 'in use')
    check(log.poll() is None or log.poll() == 1, f'exit code {log.poll()}')
