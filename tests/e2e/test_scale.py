"""Many devices, many sessions."""

import concurrent.futures

from lib.checks import check, check_equal

MIB = 1 << 20


def _write_and_read(nbdkit, export, data):
    with nbdkit.connect(export) as handle:
        handle.pwrite(data, 4096)
        handle.flush()
        return bytes(handle.pread(len(data), 4096))


def test_64_devices_in_one_session(env):
    names = [f'disk{number}' for number in range(64)]
    for name in names:
        env.image(name, 1 * MIB)
    nbdkit = env.nbdkit(env.server())
    data = {name: env.random.randbytes(65536) for name in names}
    # All of them open at once, then all of them at work.
    handles = {}
    try:
        for name in names:
            handles[name] = nbdkit.connect(name)
        open_handles = {name: manager.__enter__() for name, manager in handles.items()}
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda name: open_handles[name].pwrite(data[name], 4096), names))
            got = dict(zip(names, pool.map(
                lambda name: bytes(open_handles[name].pread(65536, 4096)), names)))
        for handle in open_handles.values():
            handle.flush()
    finally:
        for manager in handles.values():
            manager.__exit__(None, None, None)
    for name in names:
        check(got[name] == data[name], f'{name} reads something else')
        stored = (env.directory() / name).read_bytes()
        check(stored[4096:4096 + 65536] == data[name], f'{name} holds something else')


def test_32_sessions_on_one_server(env):
    names = [f'disk{number}' for number in range(32)]
    for name in names:
        env.image(name, 1 * MIB)
    # 32 sessions of 512 chunks would need 2 GiB; the depth is not what is tested.
    server = env.server('--sess_queue_depth', '32')
    nbdkits = [env.nbdkit(server, name) for name in names]
    data = [env.random.randbytes(65536) for _ in names]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda n: _write_and_read(nbdkits[n], '', data[n]), range(32)))
    for number, name in enumerate(names):
        check(got[number] == data[number], f'session {number} reads something else')
        stored = (env.directory() / name).read_bytes()
        check(stored[4096:4096 + 65536] == data[number], f'{name} holds something else')
    for nbdkit in nbdkits:
        check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')
    check_equal(server.stop(), 0, 'exit code of rnbd-server')


def test_100_sessions_one_after_the_other(env):
    env.image('disk', 1 * MIB)
    server = env.server()
    for number in range(100):
        nbdkit = env.nbdkit(server, 'disk')
        with nbdkit.connect() as handle:
            handle.pwrite(number.to_bytes(4, 'big') * 128, 0)
        check_equal(nbdkit.stop(), 0, f'exit code of nbdkit {number}')
    check_equal((env.directory() / 'disk').read_bytes()[:4], (99).to_bytes(4, 'big'), 'content')
