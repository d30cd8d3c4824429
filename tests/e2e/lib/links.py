"""Two network namespaces with several links between them, to be cut and restored."""

import os

from .process import wait_until


class Links:
    """`near` and `far` are command prefixes that run a program on either side."""

    def __init__(self, env, count):
        self._env = env
        holders = [env.start(name, 'unshare', '--net', 'sleep', 'infinity')
                   for name in ('near', 'far')]
        for holder in holders:
            wait_until(lambda pid=holder.pid: _has_own_network(pid), 'a network namespace', holder)
        near, far = (holder.pid for holder in holders)
        self.near, self.far = (['nsenter', '--net', f'--target={pid}', '--']
                               for pid in (near, far))
        for number in range(count):
            env.run(*self.near, 'ip', 'link', 'add', f'link{number}', 'type', 'veth', 'peer',
                    'name', f'link{number}', 'netns', far)
            for prefix, end in ((self.near, 1), (self.far, 2)):
                env.run(*prefix, 'ip', 'addr', 'add', f'{self._network(number)}.{end}/24', 'dev',
                        f'link{number}')
                env.run(*prefix, 'ip', 'link', 'set', f'link{number}', 'up')
        for prefix in (self.near, self.far):
            env.run(*prefix, 'ip', 'link', 'set', 'lo', 'up')

    @staticmethod
    def _network(number):
        return f'10.99.{number}'

    def near_address(self, number):
        return f'{self._network(number)}.1'

    def far_address(self, number):
        return f'{self._network(number)}.2'

    def path(self, number):
        """As the parameter path= names it."""
        return f'ip:{self.near_address(number)}@ip:{self.far_address(number)}'

    def cut(self, number):
        """Nothing gets through any more, and nobody is told."""
        self._env.run(*self.far, 'ip', 'link', 'set', f'link{number}', 'down')

    def restore(self, number):
        self._env.run(*self.far, 'ip', 'link', 'set', f'link{number}', 'up')


def _has_own_network(pid):
    return os.readlink(f'/proc/{pid}/ns/net') != os.readlink('/proc/self/ns/net')
