"""What a test is given: servers, nbdkit, images, in a directory of its own."""

import contextlib
import glob
import itertools
import os
import pathlib
import random
import re
import secrets
import socket
import struct
import subprocess

import nbd

from . import sanitizer
from .checks import Failure, Skip, check
from .process import PATIENCE, Process, wait_until

_SUPPRESSIONS = pathlib.Path(__file__).resolve().parent / 'suppressions'
_NBD_OPTION_MAGIC = 0x49484156454f5054
_NBD_OPT_ABORT = 2


class Server(Process):
    """A running rnbd-server: `port`, `address` and the search path `directory`."""

    def __init__(self, env, directory, address, port, flags, prefix=()):
        self.directory = pathlib.Path(directory)
        self.address = address
        command = [*prefix, env.server_binary, '--dev_search_path', directory, '--port_nr', port,
                   *flags]
        for one in [address] if isinstance(address, str) else address:
            command += ['--listen', one]
        super().__init__('rnbd-server', command, env.log_path('rnbd-server'), env=env.variables())
        line = self.wait_for_line('listening on ')
        found = re.match(r'listening on (.*):(\d+) \(', line)
        check(found, f'no address and port in: {line}')
        self.port = int(found.group(2))

    @property
    def path(self):
        return f'ip:{self.address}'


class Nbdkit(Process):
    """A running nbdkit with our plugin, on the unix socket `socket`."""

    def __init__(self, env, parameters, options=(), prefix=()):
        number = env.next_number()
        self.socket = str(env.tmp / f'nbd{number}.sock')
        command = [*prefix, 'nbdkit', '-f', '-U', self.socket, *options, env.plugin, *parameters]
        super().__init__('nbdkit', command, env.log_path('nbdkit'),
                         env=env.variables(preloaded=True))
        # It listens, and writes a pid file, before the plugin has connected; it greets after.
        wait_until(self.greets, 'greeting from nbdkit', self)

    def greets(self):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            try:
                client.connect(self.socket)
                greeting = client.recv(18, socket.MSG_WAITALL)
                if not greeting.startswith(b'NBDMAGIC'):
                    return False
                client.sendall(struct.pack('>IQII', 3, _NBD_OPTION_MAGIC, _NBD_OPT_ABORT, 0))
                client.recv(20, socket.MSG_WAITALL)
            except (FileNotFoundError, ConnectionError):
                return False
        return True

    def uri(self, export=''):
        return f'nbd+unix:///{export}?socket={self.socket}'

    @contextlib.contextmanager
    def connect(self, export=''):
        """A libnbd handle, closed at the end."""
        handle = nbd.NBD()
        handle.connect_uri(self.uri(export))
        try:
            yield handle
        finally:
            # After a dead server there is nobody to say goodbye to.
            with contextlib.suppress(nbd.Error):
                handle.shutdown()


class Env:
    """One per test. Everything it starts is killed by the runner."""

    def __init__(self, build_dir, tmp, seed, kills=6):
        self.build_dir = pathlib.Path(build_dir)
        self.source_dir = pathlib.Path(__file__).resolve().parents[3]
        self.tmp = pathlib.Path(tmp)
        self.server_binary = self.build_dir / 'server' / 'rnbd-server'
        self.plugin = self.build_dir / 'nbdkit-plugin' / 'nbdkit-rnbd-plugin.so'
        self.random = random.Random(seed)
        self.kills = kills  # how many test_kill.py does
        self.sanitizers = sanitizer.sanitizers_of(build_dir)
        self._numbers = itertools.count()

    def next_number(self):
        return next(self._numbers)

    def log_path(self, name):
        return self.tmp / f'{self.next_number():02}-{name}.log'

    def variables(self, preloaded=False):
        found = dict(os.environ)
        found.update(sanitizer.environment(self.sanitizers, self.tmp / 'sanitizer',
                                           _SUPPRESSIONS))
        if preloaded:
            found.update(sanitizer.preload(self.sanitizers, self.build_dir))
        return found

    # Disks.

    def directory(self, name='exports'):
        path = self.tmp / name
        path.mkdir(exist_ok=True)
        return path

    def image(self, name, size, filled=False):
        """A disk image in the search path; `filled` with random bytes or a hole."""
        path = self.directory() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, 'wb') as image:
            if filled:
                for offset in range(0, size, 1 << 20):
                    image.write(self.random.randbytes(min(1 << 20, size - offset)))
            image.truncate(size)
        return path

    # Programs under test.

    def server(self, *flags, address='127.0.0.1', port=0, directory=None, prefix=()):
        """`address` may be a list; `prefix` is a command that runs the server."""
        return Server(self, directory or self.directory(), address, port, flags, prefix)

    def sessname(self):
        return f'e2e-{secrets.token_hex(6)}'

    def parameters(self, server, device=None, **kwargs):
        """Plugin parameters; a keyword set to None leaves that parameter out."""
        chosen = {'sessname': self.sessname(), 'path': server.path, 'dest_port': server.port,
                  'device_path': device}
        chosen.update(kwargs)
        return [f'{key}={value}' for key, value in chosen.items() if value is not None]

    def nbdkit(self, server, device=None, options=(), **kwargs):
        return Nbdkit(self, self.parameters(server, device, **kwargs), options)

    def nbdkit_with(self, parameters, options=(), prefix=()):
        """`prefix` is a command that runs nbdkit."""
        return Nbdkit(self, parameters, options, prefix)

    def nbdkit_fails(self, *parameters, options=(), patience=PATIENCE):
        """Runs nbdkit, which must refuse to start, and returns what it said.

        Parameter errors must come before the fork, errors of the connection
        make it end as well: in neither case may it be left running.
        """
        socket = self.tmp / f'refused{self.next_number()}.sock'
        done = self.run('nbdkit', '-f', '-U', socket, *options, self.plugin, *parameters,
                        status=1, patience=patience, env=self.variables(preloaded=True))
        return done.stderr

    def run(self, *command, status=0, patience=PATIENCE, env=None):
        """Runs a program to its end; its exit code must be `status` (None: any)."""
        words = [str(word) for word in command]
        log = self.log_path(os.path.basename(words[0]))
        try:
            done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, errors='replace', timeout=patience, env=env,
                                  check=False)
        except subprocess.TimeoutExpired as error:
            raise Failure(f'no end after {patience} s: {" ".join(words)}\n'
                          f'{error.stdout}\n{error.stderr}') from None
        log.write_text(f'$ {" ".join(words)}\n{done.stdout}{done.stderr}'
                       f'exit code {done.returncode}\n', encoding='utf-8')
        if status is not None and done.returncode != status:
            raise Failure(f'exit code {done.returncode}, wanted {status}: {" ".join(words)}\n'
                          f'{done.stdout}{done.stderr}')
        return done

    def start(self, name, *command, preloaded=False):
        """Starts any other program and returns its Process."""
        return Process(name, command, self.log_path(name), env=self.variables(preloaded))

    # Waiting, giving up, and the end.

    def wait_for_file(self, path):
        """Returns what is in the file as soon as anything is."""
        wait_until(lambda: path.exists() and path.stat().st_size > 0, f'file {path}')
        return path.read_text(encoding='utf-8')

    def wait_for_output(self, process, text):
        wait_until(lambda: text in process.output(), f'"{text}" in the output', process)

    def skip(self, why):
        raise Skip(why)

    def sanitizer_reports(self):
        """What the sanitizers wrote, if anything."""
        texts = []
        for path in sorted(glob.glob(str(self.tmp / 'sanitizer.*'))):
            text = pathlib.Path(path).read_text(encoding='utf-8', errors='replace')
            if text.strip():
                texts.append(text)
        return '\n'.join(texts)
