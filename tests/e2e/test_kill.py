"""Random kill -9 of clients, nbdkit and servers: what survives is right, nothing leaks.

Two servers, each with four nbdkits, fourteen clients at them: 24 processes. One at a
time is killed and started again, while the others go on. `run.py --kills N` says how
often.
"""

import os
import re

from lib.checks import check, check_equal
from lib.journal_client import GONE
from lib.journaled import PATIENCE, Client, wait_for_progress
from lib.process import wait_until

DISK = 8 << 20
# nbdkit 1.32 (Debian 12) can die of this itself, with any plugin, when a client is gone
# while several replies to it are being sent.
NBDKIT_BUG = "raw_send_socket: Assertion `sock >= 0' failed"


class Bridge:
    """One nbdkit with a session, a device and its clients."""

    def __init__(self, env, server, number, clients):
        self._env = env
        self._server = server
        self.name = f'nbdkit{number}'
        self._device = f'disk{number}'
        self._sessname = f'{env.sessname()}-{number}'
        self.process = None
        self.clients = [Client(env, f'client{number}.{slot}', self, slot)
                        for slot in range(clients)]
        env.image(self._device, DISK)

    def start(self):
        self.process = self._env.nbdkit(self._server.process, self._device,
                                        sessname=self._sessname)

    def connections(self):
        """How many NBD connections nbdkit has not closed yet."""
        with open('/proc/net/unix', encoding='ascii', errors='replace') as table:
            lines = [line.split() for line in table]
        return sum(1 for words in lines
                   if words[-1] == self.process.socket and words[5] == '03')

    def died_of_its_bug(self):
        return self.process.poll() is not None and NBDKIT_BUG in self.process.output()

    def new_writer_gets_in(self):
        with self._env.nbdkit(self._server.process, self._device).connect() as handle:
            handle.pwrite(bytes(512), DISK - 512)


class Target:
    """One server. Started again, it listens where it did before."""

    def __init__(self, env, number):
        self._env = env
        self.name = f'server{number}'
        self.process = None
        self.resources = 0  # descriptors without any session

    def start(self):
        port = self.process.port if self.process else 0
        self.process = self._env.server(port=port)
        self.resources = descriptors(self.process.pid)


def descriptors(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


def anonymous_memory(pid):
    """Bytes."""
    with open(f'/proc/{pid}/status', encoding='ascii') as status:
        return int(re.search(r'RssAnon:\s+(\d+) kB', status.read()).group(1)) << 10


class Killer:
    def __init__(self, env):
        self._env = env
        self.servers = [Target(env, number) for number in range(2)]
        for server in self.servers:
            server.start()
        self.bridges = [Bridge(env, self.servers[number % 2], number, 2 if number < 6 else 1)
                        for number in range(8)]
        for bridge in self.bridges:
            bridge.start()
        self.clients = [client for bridge in self.bridges for client in bridge.clients]
        for client in self.clients:
            client.start()

    def kill_client(self):
        client = self._env.random.choice(self.clients)
        bridge = client.bridge
        client.process.kill()
        # What it had sent is carried out or dropped before nbdkit closes its connection.
        alive = sum(1 for other in bridge.clients if other.process.poll() is None)
        wait_until(lambda: bridge.died_of_its_bug() or
                   bridge.connections() == alive and bridge.process.greets(),
                   f'end of the connection of {client.name}', patience=PATIENCE)
        if bridge.died_of_its_bug():
            self._start_again(bridge, [other for other in bridge.clients if other is not client])
            return f'{client.name}, of which {bridge.name} died (a bug of nbdkit)'
        client.start()
        return client.name

    def kill_bridge(self):
        bridge = self._env.random.choice(self.bridges)
        bridge.process.kill()
        self._start_again(bridge, bridge.clients)
        return bridge.name

    @staticmethod
    def _start_again(bridge, connected):
        for client in connected:
            check_equal(client.process.wait(), GONE,
                        f'exit code of {client.name}:\n{client.process.output()}\nas')
        bridge.start()
        for client in bridge.clients:
            client.start()

    def kill_server(self):
        server = self._env.random.choice(self.servers)
        server.process.kill()
        server.start()
        return server.name

    def run(self, kills):
        wait_for_progress(self.clients)
        memory = {}
        for number in range(kills):
            kill = self._env.random.choice((self.kill_client, self.kill_bridge, self.kill_server))
            name = kill()
            print(f'kill {number + 1} of {kills}: {name}', flush=True)
            wait_for_progress(self.clients)
            self._check_memory(memory)

    def _check_memory(self, memory):
        """A process that lives on may grow by what it needs, not kill by kill."""
        if self._env.sanitizers:
            return  # they keep what was freed
        for place in self.servers + self.bridges:
            pid = place.process.pid
            used = anonymous_memory(pid)
            first = memory.setdefault(pid, used)
            check(used < first + (96 << 20), f'{place.name} grew from {first} to {used} bytes')

    def finish(self):
        """All clients and sessions end: their server has what it had before them."""
        for client in self.clients:
            client.stop()
        for bridge in self.bridges:
            check_equal(bridge.process.stop(), 0, f'exit code of {bridge.name}')
        for server in self.servers:
            pid = server.process.pid
            wait_until(lambda s=server, p=pid: descriptors(p) <= s.resources,
                       f'closed descriptors of {server.name}', patience=PATIENCE)
        for bridge in self.bridges:
            bridge.new_writer_gets_in()
        for server in self.servers:
            check_equal(server.process.stop(), 0, f'exit code of {server.name}')


def test_random_kills(env):
    killer = Killer(env)
    killer.run(env.kills)
    killer.finish()
