"""Several clients and connections at once."""

import concurrent.futures
import json
import time

import nbd

from lib.checks import check, check_equal, sha256
from lib.process import wait_until

KIB, MIB = 1 << 10, 1 << 20


def test_several_clients_write_their_own_parts(env):
    parts, part_size = 6, 4 * MIB
    image = env.image('disk', parts * part_size)
    nbdkit = env.nbdkit(env.server(), 'disk')
    wanted = [env.random.randbytes(part_size) for _ in range(parts)]

    def write(number):
        with nbdkit.connect() as handle:
            step = 64 * KIB
            for offset in range(0, part_size, step):
                handle.pwrite(wanted[number][offset:offset + step], number * part_size + offset)
            handle.flush()
            return bytes(handle.pread(part_size, number * part_size))

    with concurrent.futures.ThreadPoolExecutor(parts) as pool:
        for number, got in enumerate(pool.map(write, range(parts))):
            check(got == wanted[number], f'client {number} reads something else')
    check(image.read_bytes() == b''.join(wanted), 'the image differs')


def test_multi_conn_sees_flushed_writes_everywhere(env):
    """What one connection wrote and flushed, each other connection reads."""
    env.image('disk', 1 * MIB)
    nbdkit = env.nbdkit(env.server(), 'disk')
    with nbdkit.connect() as one, nbdkit.connect() as two, nbdkit.connect() as three:
        check(one.can_multi_conn(), 'no multi-conn')
        for round_number in range(50):
            data = env.random.randbytes(4096)
            writer, *readers = env.random.sample((one, two, three), 3)
            writer.pwrite(data, 4096 * round_number)
            writer.flush()
            for reader in readers:
                check_equal(bytes(reader.pread(4096, 4096 * round_number)) == data, True,
                            f'round {round_number}')


def test_nbdcopy_with_many_connections(env):
    image = env.image('disk', 128 * MIB)
    source = env.image('source', 128 * MIB, filled=True)
    nbdkit = env.nbdkit(env.server(), 'disk')
    env.run('nbdcopy', '--connections=8', '--requests=32', '--flush', source, nbdkit.uri())
    check_equal(sha256(image), sha256(source), 'checksum on the server')


def test_fio_with_four_connections(env):
    env.image('disk', 64 * MIB)
    nbdkit = env.nbdkit(env.server(), 'disk')
    done = env.run('fio', '--name=verify', '--ioengine=nbd', f'--uri={nbdkit.uri()}',
                   '--numjobs=4', '--offset_increment=16m', '--size=16m', '--rw=randwrite',
                   '--bs=4k', '--iodepth=32', '--verify=crc32c', '--verify_fatal=1',
                   '--output-format=json', f'--aux-path={env.tmp}', patience=240)
    jobs = json.loads(done.stdout[done.stdout.find('{'):])['jobs']
    check_equal([job['error'] for job in jobs], [0] * 4, 'fio errors')
    check(all(job['read']['total_ios'] for job in jobs), 'a job has verified nothing')


def test_deep_queue_of_one_connection(env):
    """More requests in flight than the session has permits."""
    env.image('disk', 16 * MIB, filled=True)
    nbdkit = env.nbdkit(env.server('--sess_queue_depth', '16'), 'disk')
    with nbdkit.connect() as handle:
        buffers = [nbd.Buffer(4096) for _ in range(500)]
        cookies = {handle.aio_pread(buffer, 4096 * number): number
                   for number, buffer in enumerate(buffers)}
        while cookies:
            handle.poll(-1)
            cookies = {c: n for c, n in cookies.items() if not handle.aio_command_completed(c)}
        stored = (env.directory() / 'disk').read_bytes()
        for number, buffer in enumerate(buffers):
            check(bytes(buffer.to_bytearray()) == stored[4096 * number:4096 * (number + 1)],
                  f'block {number}')


def test_clients_come_and_go(env):
    env.image('disk', 1 * MIB)
    nbdkit = env.nbdkit(env.server(), 'disk')
    for number in range(100):
        with nbdkit.connect() as handle:
            handle.pwrite(bytes([number]) * 512, 512 * number)
            check_equal(bytes(handle.pread(512, 512 * number)), bytes([number]) * 512, 'block')


def test_export_name_is_the_device_path(env):
    """Without device_path= one nbdkit serves every device of its session."""
    names = ('a', 'sub/b', 'c.img')
    for name in names:
        env.image(name, 1 * MIB, filled=True)
    nbdkit = env.nbdkit(env.server())
    for name in names:
        env.run('nbdcopy', nbdkit.uri(name), env.tmp / 'copy')
        check_equal(sha256(env.tmp / 'copy'), sha256(env.directory() / name), name)


def test_export_is_unmapped_after_its_last_use(env):
    """The next writer gets the device a few seconds after the last client left."""
    env.image('disk', 1 * MIB)
    server = env.server()
    first = env.nbdkit(server)
    with first.connect('disk') as handle:
        handle.pwrite(bytes(512), 0)
    second = env.nbdkit(server)

    def second_writes():
        try:
            with second.connect('disk') as handle:
                handle.pwrite(b'2' * 512, 0)
                return True
        except nbd.Error:
            time.sleep(0.2)
            return False

    wait_until(second_writes, 'unmapped device', first)
    check_equal((env.directory() / 'disk').read_bytes()[:512], b'2' * 512, 'first block')


def test_device_stays_mapped_between_clients(env):
    """With device_path= the device is ours from start to exit."""
    env.image('disk', 1 * MIB)
    server = env.server()
    first = env.nbdkit(server, 'disk')
    with first.connect() as handle:
        handle.pwrite(bytes(512), 0)
    env.nbdkit_fails(*env.parameters(server, 'disk'))
    check_equal(first.stop(), 0, 'exit code of nbdkit')
    env.nbdkit(server, 'disk')


def test_device_is_closed_before_nbdkit_ends(env):
    """The answer to CLOSE is waited for, though nbdkit was told to quit."""
    env.image('disk', 1 * MIB)
    nbdkit = env.nbdkit(env.server(), 'disk')
    with nbdkit.connect() as handle:
        handle.pwrite(bytes(512), 0)
    check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')
    check('error' not in nbdkit.output(), nbdkit.output())
