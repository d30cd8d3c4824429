"""Journal clients (journal_client.py) as a test sees them."""

import sys

from . import journal_client
from .checks import check, check_equal
from .process import Process, wait_until

BLOCKS = 200
# How long clients may take to go on after a fault. Against hangs only.
PATIENCE = 150


class Client:
    """One journal client: its process may change, its blocks and journal do not.

    `bridge` has the Nbdkit to connect to as `process`; the client has the blocks
    [slot, slot + 1) * BLOCKS of its disk.
    """

    def __init__(self, env, name, bridge, slot):
        self._env = env
        self._slot = slot
        self.name = name
        self.bridge = bridge
        self.journal = env.tmp / f'{name}.journal'
        self.process = None

    def start(self):
        command = [sys.executable, journal_client.__file__, self.bridge.process.uri(),
                   self._slot * BLOCKS, BLOCKS, self.journal,
                   self._env.random.randrange(1 << 32)]
        self.process = Process(self.name, command, self._env.log_path(self.name))

    def stop(self):
        """It says goodbye to nbdkit."""
        check_equal(self.process.stop(), 0, f'exit code of {self.name}')

    def written(self):
        return self.journal.stat().st_size if self.journal.exists() else 0

    def check_alive(self):
        check(self.process.poll() is None,
              f'{self.name} ended with exit code {self.process.poll()}:\n{self.process.output()}')


def wait_for_progress(clients):
    """Every client has verified its blocks and writes on."""
    before = {client: client.written() for client in clients}

    def all_go_on():
        for client in clients:
            client.check_alive()
        return all(client.written() > before[client] + 1000 and
                   'verified' in client.process.output() for client in clients)

    wait_until(all_go_on, 'progress of all clients', patience=PATIENCE)
