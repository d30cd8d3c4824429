"""IPv6, beside IPv4 and without it."""

import socket

from lib.checks import check, check_equal, sha256

MIB = 1 << 20


def _need_ipv6(env):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(('::1', 0))
    except OSError as error:
        env.skip(f'no IPv6 loopback: {error}')


def test_ipv6_path(env):
    _need_ipv6(env)
    image = env.image('disk', 16 * MIB, filled=True)
    server = env.server(address='::1')
    for path in ('ip:::1', 'ip:::1@ip:::1'):
        nbdkit = env.nbdkit(server, 'disk', path=path)
        env.run('nbdcopy', nbdkit.uri(), env.tmp / 'copy')
        check_equal(sha256(env.tmp / 'copy'), sha256(image), 'checksum of the copy')
        check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_both_families_at_once(env):
    _need_ipv6(env)
    env.image('disk', 1 * MIB)
    server = env.server('--listen', '::1')
    for path in ('ip:127.0.0.1', 'ip:::1'):
        nbdkit = env.nbdkit(server, 'disk', path=path)
        with nbdkit.connect() as handle:
            check(handle.get_size() == MIB, 'size')
        check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')
