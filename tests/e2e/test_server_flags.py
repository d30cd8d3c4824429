"""rnbd-server itself: its flags, its start, its end."""

import re
import signal

from lib.checks import check, check_equal, check_in

MIB = 1 << 20


def _fails(env, *flags):
    done = env.run(env.server_binary, *flags, status=None, patience=20, env=env.variables())
    check(done.returncode > 0, f'exit code {done.returncode} for {flags}')
    return done.stderr + done.stdout


def test_search_path_is_needed(env):
    check_in('dev_search_path', _fails(env, '--port_nr', '0'))


def test_search_path_must_exist(env):
    text = _fails(env, '--dev_search_path', env.tmp / 'missing', '--port_nr', '0')
    check_in('missing', text)


def test_unknown_flag(env):
    check_in('no_such_flag', _fails(env, '--dev_search_path', env.tmp, '--no_such_flag'))


def test_bad_values(env):
    for flag, value in (('--port_nr', '65536'), ('--port_nr', 'x'), ('--sess_queue_depth', '0'),
                        ('--sess_queue_depth', '1000000'), ('--max_chunk_size', '4095'),
                        ('--max_chunk_size', '-1'), ('--listen', 'no.such.address.example.')):
        check_in(flag.strip('-'), _fails(env, '--dev_search_path', env.tmp, flag, value))


def test_port_in_use(env):
    server = env.server()
    text = _fails(env, '--dev_search_path', env.tmp, '--listen', '127.0.0.1',
                  '--port_nr', str(server.port))
    check_in(str(server.port), text)
    check_in('in use', text)


def test_listens_on_loopback_unless_told(env):
    command = (env.server_binary, '--dev_search_path', env.directory(), '--port_nr', '0')
    server = env.start('rnbd-server', *command)
    server.wait_for_line('listening on ')
    addresses = re.findall(r'^listening on (.*):\d+ \(', server.output(), re.MULTILINE)
    for address in addresses:
        check(address.strip('[]') in ('127.0.0.1', '::1'), f'listens on {address}')


def test_help_and_version(env):
    check_in('dev_search_path', env.run(env.server_binary, '--help',
                                        env=env.variables()).stdout)
    check_in('.', env.run(env.server_binary, '--version', env=env.variables()).stdout)


def test_ends_in_order(env):
    """SIGTERM and SIGINT end it with exit code 0, clients or not."""
    env.image('disk', MIB)
    for number in (signal.SIGTERM, signal.SIGINT):
        server = env.server()
        nbdkit = env.nbdkit(server, 'disk', io_timeout=5)
        server.signal(number)
        check_equal(server.wait(), 0, 'exit code of rnbd-server')
        check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_starts_again_at_once_on_its_port(env):
    env.image('disk', MIB)
    server = env.server()
    nbdkit = env.nbdkit(server, 'disk')
    with nbdkit.connect() as handle:
        handle.pwrite(bytes(512), 0)
    nbdkit.stop()
    server.stop()
    again = env.server(port=server.port)
    check_equal(again.port, server.port, 'port')
    env.nbdkit(again, 'disk')


def test_queue_depth_and_chunk_size(env):
    for depth, chunk in ((1, 8192), (16, 16384), (512, 131072), (64, 1 << 20)):
        name = f'disk{depth}'
        image = env.image(name, 4 * MIB)
        server = env.server('--sess_queue_depth', str(depth), '--max_chunk_size', str(chunk))
        nbdkit = env.nbdkit(server, name)
        data = env.random.randbytes(3 * MIB)
        with nbdkit.connect() as handle:
            handle.pwrite(data, 4097)
            handle.flush()
            check(bytes(handle.pread(len(data), 4097)) == data, f'depth {depth}: read differs')
        check(image.read_bytes()[4097:4097 + len(data)] == data, f'depth {depth}: image differs')
        check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')
        check_equal(server.stop(), 0, 'exit code of rnbd-server')
