"""Several paths over links that break: I/O goes on, and the data is right."""

from lib.journaled import Client, wait_for_progress
from lib.links import Links
from lib.process import Process, wait_until

DISK = 8 << 20


class Bridge:
    """A server and an nbdkit on either side of the links."""

    def __init__(self, env, links, count, **parameters):
        self._env = env
        self._links = links
        self._count = count
        env.image('disk', DISK)
        self.server = None
        self.start_server()
        paths = [f'path={links.path(number)}' for number in range(count)]
        self.process = env.nbdkit_with(
            [*paths, *env.parameters(self.server, 'disk', path=None, **parameters)],
            prefix=links.near)

    def start_server(self):
        addresses = [self._links.far_address(number) for number in range(self._count)]
        port = self.server.port if self.server else 0
        self.server = self._env.server(address=addresses, port=port, prefix=self._links.far)

    def wait_for_paths(self, count):
        """`count` paths have connections to the server."""
        wait_until(lambda: self._connected_paths() == count, f'{count} connected paths',
                   self.process, patience=120)

    def _connected_paths(self):
        done = self._env.run(*self._links.near, 'ss', '-Htn', 'state', 'established')
        return len({line.split()[3] for line in done.stdout.splitlines()})


def _run(env, paths):
    links = Links(env, paths)
    bridge = Bridge(env, links, paths)
    clients = [Client(env, f'client{slot}', bridge, slot) for slot in range(3)]
    for client in clients:
        client.start()
    wait_for_progress(clients)
    return links, bridge, clients


def test_each_of_two_links_cut(env):
    links, bridge, clients = _run(env, 2)
    bridge.wait_for_paths(2)
    for number in (0, 1):
        links.cut(number)
        wait_for_progress(clients)
        bridge.wait_for_paths(1)
        links.restore(number)
        bridge.wait_for_paths(2)
        wait_for_progress(clients)


def test_both_links_cut(env):
    links, bridge, clients = _run(env, 2)
    bridge.wait_for_paths(2)
    for number in (0, 1):
        links.cut(number)
    bridge.wait_for_paths(0)
    for number in (1, 0):
        links.restore(number)
        wait_for_progress(clients)
    bridge.wait_for_paths(2)


def test_the_only_link_cut(env):
    links, bridge, clients = _run(env, 1)
    links.cut(0)
    bridge.wait_for_paths(0)
    links.restore(0)
    wait_for_progress(clients)


def _end_and_start_server(env, end):
    _, bridge, clients = _run(env, 2)
    for _ in range(3):
        end(bridge.server)
        bridge.start_server()
        wait_for_progress(clients)
    return bridge


def test_server_killed_and_started_again(env):
    bridge = _end_and_start_server(env, Process.kill)
    bridge.wait_for_paths(2)


def test_server_stopped_and_started_again(env):
    """In order, under load: nobody gets an error."""
    _end_and_start_server(env, Process.stop)
