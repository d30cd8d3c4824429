"""What really crosses the wire, held against the description of the protocol."""

import shutil
import signal

from lib.checks import check, check_equal, check_in
from lib.process import Process, wait_until

MIB = 1 << 20


def _capture(env, port):
    """Starts tcpdump for `port` on the loopback; returns it and its file."""
    if shutil.which('tcpdump') is None:
        env.skip('tcpdump is not installed')
    path = env.tmp / 'own.pcap'
    tcpdump = Process('tcpdump', ['tcpdump', '-i', 'lo', '-U', '--immediate-mode', '-B', '65536',
                                  '-s', '0', '-Z', 'root', '-w', path, f'tcp port {port}'],
                      env.log_path('tcpdump'))
    wait_until(lambda: 'listening on' in tcpdump.output() or tcpdump.poll() is not None,
               'listening tcpdump')
    if tcpdump.poll() is not None:
        env.skip(f'tcpdump cannot capture here: {tcpdump.output()}')
    return tcpdump, path


def _decode(env, tcpdump, path):
    """What rtrs_pcap says of the whole capture, which must fit."""
    decoder = env.build_dir / 'tests' / 'pcap' / 'rtrs_pcap'

    def summary():
        done = env.run(decoder, path, status=None)
        return done.stdout if ' open,' not in done.stdout + done.stderr else None

    # The last packets are on their way to the file.
    wait_until(summary, 'end of all connections in the capture')
    tcpdump.signal(signal.SIGINT)
    tcpdump.wait()
    check_in('0 packets dropped by kernel', tcpdump.output(), 'tcpdump')
    return env.run(decoder, path).stdout


def _use(env, server, **parameters):
    nbdkit = env.nbdkit(server, 'disk', **parameters)
    with nbdkit.connect() as handle:
        data = env.random.randbytes(300000)
        handle.pwrite(data, 5000)
        handle.flush()
        check(handle.pread(len(data), 5000) == data, 'the data read is not what was written')
        handle.trim(MIB, MIB)
        handle.zero(MIB, 2 * MIB)
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_our_own_traffic_fits(env):
    env.image('disk', 8 * MIB)
    server = env.server()
    tcpdump, path = _capture(env, server.port)
    for crc in ('on', 'off'):
        _use(env, server, crc=crc)
    text = _decode(env, tcpdump, path)
    for operation in ('SESS_INFO', 'OPEN', 'CLOSE', 'read', 'write', 'flush', 'discard'):
        check_in(f' {operation}', text, 'summary')


def test_notice_fits(env):
    image = env.image('disk', MIB)
    server = env.server()
    tcpdump, path = _capture(env, server.port)
    nbdkit = env.nbdkit(server, 'disk')
    with open(image, 'r+b') as disk:
        disk.truncate(2 * MIB)
    env.wait_for_output(nbdkit, f'has {2 * MIB} bytes now')
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')
    check_in(' notices', _decode(env, tcpdump, path), 'summary')


def test_refused_open_fits(env):
    env.image('disk', MIB)
    server = env.server()
    tcpdump, path = _capture(env, server.port)
    env.nbdkit_fails(*env.parameters(server, 'no-such-disk'))
    check_in('errors)', _decode(env, tcpdump, path), 'summary')
