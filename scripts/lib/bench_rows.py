"""The rows of the benchmark: chains of servers between fio and a file.

A server that takes its listening socket from its parent (socket activation)
needs no free port to be guessed and no moment of readiness to be waited for: a
client's connect waits in the queue until the server accepts it.
"""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess


class BenchError(Exception):
    """A row that cannot be measured; the message says why."""


class Chain:
    """The running servers of one row, and where fio finds the first of them."""

    def __init__(self, image, scratch, options):
        self.image = image
        self.scratch = scratch
        self.options = options
        self.uri = None
        self._processes = []

    def pids(self):
        return [process.pid for process in self._processes]

    def spawn(self, command, listener=None, **kwargs):
        log_path = os.path.join(self.scratch, f'{len(self._processes)}.log')
        if listener is not None:
            # LISTEN_PID is the server's own pid: the shell sets it, then turns into it.
            command = ['/bin/sh', '-c', 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3<&0 0</dev/null',
                       'sh'] + command
            kwargs['stdin'] = listener
        else:
            kwargs['stdin'] = subprocess.DEVNULL
        with open(log_path, 'wb') as log:
            kwargs.setdefault('stdout', log)
            process = subprocess.Popen(command, stderr=log, **kwargs)
        process.log_path = log_path
        self._processes.append(process)
        if listener is not None:
            listener.close()
        return process

    def unix_server(self, *command):
        """Starts `command` on a unix socket and points fio at it."""
        path = os.path.join(self.scratch, 'nbd.sock')
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(16)
        self.spawn(list(command), listener)
        self.uri = f'nbd+unix:///?socket={path}'

    def tcp_server(self, *command):
        """Starts `command` on a free TCP port of loopback and returns the port."""
        listener = socket.socket()
        listener.bind(('127.0.0.1', 0))
        listener.listen(16)
        port = listener.getsockname()[1]
        self.spawn(list(command), listener)
        return port

    def stop(self):
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def logs(self):
        parts = []
        for process in self._processes:
            with open(process.log_path, encoding='utf-8', errors='replace') as log:
                parts.append(f'--- {" ".join(process.args)} (exit code {process.poll()})\n'
                             + log.read()[-4000:])
        return '\n'.join(parts)


class Row:
    def __init__(self, title, build):
        self.title = title
        self._build = build

    @contextlib.contextmanager
    def start(self, image, scratch, options):
        chain = Chain(image, scratch, options)
        try:
            self._build(chain)
            yield chain
        except BenchError as error:
            raise BenchError(f'{error}\n{chain.logs()}') from None
        finally:
            chain.stop()


def _qemu_nbd(chain):
    return chain.tcp_server('qemu-nbd', '-t', '-e', '16', '-x', '', '-f', 'raw', chain.image)


def _rnbd_server_port(process):
    """rnbd-server says on its standard output where it listens."""
    for line in process.stdout:
        found = re.match(r'listening on .*:(\d+) \(', line)
        if found:
            return found.group(1)
    raise BenchError(f'rnbd-server ended with exit code {process.wait()}')


def _rnbd(chain, address='127.0.0.1', source='', fabric=None):
    build = chain.options.build_dir
    directory, name = os.path.split(chain.image)
    server = chain.spawn(
        [f'{build}/server/rnbd-server', '--dev_search_path', directory, '--listen', address,
         '--port_nr', '0']
        + ([f'--fabric={fabric}'] if fabric else [])
        + shlex.split(chain.options.server_args),
        stdout=subprocess.PIPE, text=True)
    port = _rnbd_server_port(server)
    chain.unix_server(
        'nbdkit', f'{build}/nbdkit-plugin/nbdkit-rnbd-plugin.so', f'sessname=bench-{os.getpid()}',
        f'path={source}ip:{address}', f'dest_port={port}', f'device_path={name}',
        *([f'fabric={fabric}'] if fabric else []),
        *shlex.split(chain.options.plugin_args))


def _rnbd_softroce(chain):
    # One process has the UDP port of an address: two that nobody else uses.
    _rnbd(chain, '127.47.91.1', 'ip:127.47.91.2@', 'softroce')


def _nbdkit_nbd_to_file(chain):
    port = chain.tcp_server('nbdkit', 'file', chain.image)
    chain.unix_server('nbdkit', 'nbd', 'hostname=127.0.0.1', f'port={port}')


def _nbdkit_nbd_to_qemu(chain):
    port = _qemu_nbd(chain)
    chain.unix_server('nbdkit', 'nbd', 'hostname=127.0.0.1', f'port={port}')


def _qemu_direct(chain):
    chain.uri = f'nbd://127.0.0.1:{_qemu_nbd(chain)}/'


def _null(chain):
    chain.unix_server('nbdkit', 'null', f'size={os.path.getsize(chain.image)}')


def _file(chain):
    chain.unix_server('nbdkit', 'file', chain.image)


ROWS = {
    'a': Row('unix, nbdkit rnbd, RTRS, rnbd-server, file', _rnbd),
    'a-roce': Row('as (a) with fabric=softroce: RoCEv2 over UDP', _rnbd_softroce),
    'b': Row('unix, nbdkit nbd, TCP, nbdkit file', _nbdkit_nbd_to_file),
    'b-qemu': Row('unix, nbdkit nbd, TCP, qemu-nbd, file', _nbdkit_nbd_to_qemu),
    'c': Row('TCP, qemu-nbd, file', _qemu_direct),
    'null': Row('unix, nbdkit null: the ceiling', _null),
    'file': Row('unix, nbdkit file: no network at all', _file),
}
DEFAULT_ROWS = ['a', 'a-roce', 'b', 'b-qemu', 'c', 'null']
