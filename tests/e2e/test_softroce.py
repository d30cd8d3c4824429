"""RoCEv2 inside the processes, over UDP port 4791 (fabric=softroce)."""

import contextlib
import os
import re
import shutil
import signal
import socket

from lib.checks import check, check_equal, check_in, sha256
from lib.process import Process, wait_until

MIB = 1 << 20
PORT = 4791


def _addresses(env):
    """A server's address and a client's: one process has the port of each."""
    high, low = env.random.randrange(2, 250), env.random.randrange(1, 250)
    return f'127.{high}.{low}.1', f'127.{high}.{low}.2'


def _server(env, address, *flags):
    return env.server('--fabric', 'softroce', *flags, address=address)


def _nbdkit(env, server, source, **kwargs):
    return env.nbdkit(server, 'disk', path=f'ip:{source}@ip:{server.address}',
                      fabric='softroce', **kwargs)


def _fio_verify(env, nbdkit, *options):
    env.run('fio', '--name=verify', '--ioengine=nbd', f'--uri={nbdkit.uri()}', '--rw=randwrite',
            '--bsrange=512-128k', '--blockalign=512', '--iodepth=16', '--size=24m',
            '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--randseed=7',
            *options)


def test_data_comes_back(env):
    here, there = _addresses(env)
    image = env.image('disk', 32 * MIB, filled=True)
    nbdkit = _nbdkit(env, _server(env, here), there)
    env.run('nbdcopy', nbdkit.uri(), env.tmp / 'copy')
    check_equal(sha256(env.tmp / 'copy'), sha256(image), 'checksum of the copy')
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_fio_verify(env):
    here, there = _addresses(env)
    env.image('disk', 32 * MIB)
    nbdkit = _nbdkit(env, _server(env, here), there)
    _fio_verify(env, nbdkit)
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_ipv6_in_one_network(env):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(('::1', 0))
    except OSError as error:
        env.skip(f'no IPv6 loopback: {error}')
    # There is one ::1 and so one process; its own client cannot be another.
    env.image('disk', MIB)
    server = _server(env, '::1')
    text = env.nbdkit_fails(*env.parameters(server, 'disk', path='ip:::1', fabric='softroce'))
    check_in(f'port [::1]:{PORT} is taken by process {server.pid}', text, 'message')


def test_loopback_source_is_found(env):
    env.image('disk', 4 * MIB)
    with contextlib.ExitStack() as stack:
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stack.callback(taken.close)
        try:
            taken.bind(('127.0.0.1', PORT))
        except OSError:
            pass  # another program has it, which does as well
        here, _ = _addresses(env)
        server = _server(env, here)
        nbdkit = env.nbdkit(server, 'disk', fabric='softroce')
        with nbdkit.connect() as handle:
            check_equal(handle.get_size(), 4 * MIB, 'size')
        check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_taken_port_is_named(env):
    here, _ = _addresses(env)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((here, PORT))
        done = env.run(env.server_binary, '--dev_search_path', env.directory(), '--listen', here,
                       '--port_nr', 0, '--fabric', 'softroce', status=1, env=env.variables())
        check_in(f'{here}:{PORT} is taken by process {os.getpid()}', done.stderr, 'message')
        check_in('another local address', done.stderr, 'message')
        # On all fabrics it serves over the others, and says why not over this.
        server = env.server(address=here)
        check_in('not listening', server.output(), 'log')
        check_in(f'{here}:{PORT} is taken', server.output(), 'log')


def test_nobody_there(env):
    here, there = _addresses(env)
    text = env.nbdkit_fails('sessname=nobody', f'path=ip:{there}@ip:{here}', 'device_path=disk',
                            'fabric=softroce')
    check_in(f'connect to {here}', text, 'message')
    server = _server(env, here)
    text = env.nbdkit_fails('sessname=nobody', f'path=ip:{there}@ip:{here}', 'device_path=disk',
                            'fabric=softroce', f'dest_port={server.port % 60000 + 1}')
    check_in('nobody listens on that port', text, 'message')


def test_auto_takes_it_last(env):
    here, there = _addresses(env)
    env.image('disk', MIB)
    server = _server(env, here)
    nbdkit = env.nbdkit(server, 'disk', options=('-v',), path=f'ip:{there}@ip:{here}')
    with nbdkit.connect() as handle:
        check_equal(handle.get_size(), MIB, 'size')
    check_in('runs over softroce', nbdkit.output(), 'log of nbdkit')
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_server_comes_to_an_end(env):
    here, there = _addresses(env)
    env.image('disk', MIB)
    server = _server(env, here)
    nbdkit = _nbdkit(env, server, there)
    with nbdkit.connect() as handle:
        handle.pwrite(b'x' * 4096, 0)
    check_equal(server.stop(), 0, 'exit code of rnbd-server')
    nbdkit.stop()


def test_tshark_reads_it(env):
    for tool in ('tshark', 'tcpdump'):
        if shutil.which(tool) is None:
            env.skip(f'{tool} is not installed')
    here, there = _addresses(env)
    env.image('disk', 8 * MIB)
    path = env.tmp / 'roce.pcap'
    tcpdump = Process('tcpdump', ['tcpdump', '-i', 'lo', '-U', '--immediate-mode', '-B', '65536',
                                  '-s', '0', '-Z', 'root', '-w', path,
                                  f'udp port {PORT} and host {here}'],
                      env.log_path('tcpdump'))
    wait_until(lambda: 'listening on' in tcpdump.output() or tcpdump.poll() is not None,
               'listening tcpdump')
    if tcpdump.poll() is not None:
        env.skip(f'tcpdump cannot capture here: {tcpdump.output()}')
    nbdkit = _nbdkit(env, _server(env, here), there)
    with nbdkit.connect() as handle:
        data = env.random.randbytes(100000)
        handle.pwrite(data, 5000)
        check(handle.pread(len(data), 5000) == data, 'the data read is not what was written')
        handle.flush()
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')
    tcpdump.signal(signal.SIGINT)
    tcpdump.wait()
    rows = env.run('tshark', '-n', '-r', path, '-T', 'fields', '-e', 'infiniband.bth.opcode',
                   '-e', '_ws.malformed', '-e', '_ws.expert.severity').stdout.splitlines()
    opcodes = {int(value, 0) for row in rows for value in row.split('\t')[0].split(',') if value}
    # WRITE_ONLY_IMM, WRITE_FIRST, ACK, UD_SEND_ONLY at least.
    for opcode in (0x0B, 0x06, 0x11, 0x64):
        check(opcode in opcodes, f'opcode {opcode:#x} is not among {sorted(opcodes)}')
    text = env.run('tshark', '-n', '-r', path, '-V').stdout
    check('Malformed' not in text, 'tshark found a malformed packet')


class _Namespaces:
    """Two network namespaces with a cable between them."""

    def __init__(self, env, mtu):
        self.env = env
        mark = f'{os.getpid()}'
        self.names = [f'roce-a{mark}', f'roce-b{mark}']
        self.addresses = ['198.18.77.1', '198.18.77.2']
        done = env.run('ip', 'netns', 'add', self.names[0], status=None)
        if done.returncode != 0:
            env.skip(f'no network namespaces here: {done.stderr}')
        env.run('ip', 'netns', 'add', self.names[1])
        ends = [f'ra{mark}', f'rb{mark}']
        env.run('ip', 'link', 'add', ends[0], 'netns', self.names[0], 'type', 'veth', 'peer',
                'name', ends[1], 'netns', self.names[1])
        for name, end, address in zip(self.names, ends, self.addresses):
            env.run('ip', '-n', name, 'addr', 'add', f'{address}/24', 'dev', end)
            env.run('ip', '-n', name, 'link', 'set', end, 'mtu', mtu, 'up')
            env.run('ip', '-n', name, 'link', 'set', 'lo', 'up')

    def lose(self, percent):
        """Both ways, by nftables on arrival."""
        rules = ('table inet lossy { chain in { type filter hook input priority 0; '
                 f'udp dport {PORT} numgen random mod 1000 < {int(percent * 10)} counter drop; }}; }}')
        for name in self.names:
            done = self.env.run('ip', 'netns', 'exec', name, 'nft', rules, status=None)
            if done.returncode != 0:
                self.env.skip(f'nft cannot drop packets here: {done.stderr}')

    def command(self, index):
        return ['ip', 'netns', 'exec', self.names[index]]

    def remove(self):
        for name in self.names:
            self.env.run('ip', 'netns', 'del', name, status=None)


def _over_cable(env, mtu, percent):
    env.image('disk', 32 * MIB)
    net = _Namespaces(env, mtu)
    try:
        if percent:
            net.lose(percent)
        server = Process('rnbd-server', net.command(0) + [
            env.server_binary, '--dev_search_path', env.directory(), '--listen', net.addresses[0],
            '--port_nr', '0', '--fabric', 'softroce'], env.log_path('rnbd-server'),
            env=env.variables())
        line = server.wait_for_line('listening on ')
        port = re.match(r'listening on .*:(\d+) \(', line).group(1)
        sock = str(env.tmp / 'cable.sock')
        nbdkit = Process('nbdkit', net.command(1) + [
            'nbdkit', '-f', '-U', sock, env.plugin, f'sessname={env.sessname()}',
            f'path=ip:{net.addresses[0]}', f'dest_port={port}', 'device_path=disk',
            'fabric=softroce'], env.log_path('nbdkit'), env=env.variables(preloaded=True))
        uri = f'nbd+unix:///?socket={sock}'
        wait_until(lambda: env.run('nbdinfo', '--size', uri, status=None).returncode == 0,
                   'size by nbdkit', nbdkit)
        env.run('fio', '--name=verify', '--ioengine=nbd', f'--uri={uri}', '--rw=randwrite',
                '--bsrange=512-128k', '--blockalign=512', '--iodepth=16', '--size=16m',
                '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--randseed=7')
        check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')
        check_equal(server.stop(), 0, 'exit code of rnbd-server')
    finally:
        net.remove()


def test_between_namespaces(env):
    _over_cable(env, 9000, 0)


def test_between_namespaces_small_packets(env):
    _over_cable(env, 1500, 0)


def test_one_percent_lost(env):
    _over_cable(env, 1500, 1)


def test_five_percent_lost(env):
    _over_cable(env, 9000, 5)
