#!/usr/bin/python3
"""The plugin in the real nbdkit, as far as no server is needed.

  tests/plugin/nbdkit_test.py BUILD_DIR
"""

import os
import pathlib
import select
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'e2e'))
sys.dont_write_bytecode = True
from lib.env import Env  # noqa: E402

PATIENCE = 60
BUILD_DIR = None


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class PluginTest(unittest.TestCase):

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix='rnbd-plugin-')
        self.addCleanup(directory.cleanup)
        self.env = Env(BUILD_DIR, directory.name, 0)
        self.socket = os.path.join(directory.name, 'nbd.sock')
        self.pid_file = os.path.join(directory.name, 'nbdkit.pid')

    def nbdkit(self, *arguments, stdout=subprocess.PIPE, cwd=None):
        """Runs nbdkit to the end of the command that a user typed."""
        done = subprocess.run(['nbdkit', *arguments], stdin=subprocess.DEVNULL, stdout=stdout,
                              stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False,
                              env=self.env.variables(preloaded=True), cwd=cwd)
        self.assertEqual(self.env.sanitizer_reports(), '')
        return done

    def start(self, *parameters, options=(), **kwargs):
        return self.nbdkit('-U', self.socket, '-P', self.pid_file, *options,
                           str(self.env.plugin), *parameters, **kwargs)

    def unreachable(self):
        """Parameters that are right, of a server that is not there."""
        return ['sessname=plugin-test', 'path=ip:127.0.0.1', f'dest_port={free_port()}',
                'device_path=disk']

    def assert_not_running(self):
        """The process of the pid file, if it got that far, is gone or going."""
        if not os.path.exists(self.pid_file):
            return
        with open(self.pid_file, encoding='ascii') as text:
            pid = int(text.read())
        fd = None
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            ended = select.select([fd], [], [], PATIENCE)[0]
            self.assertTrue(ended, f'nbdkit {pid} is still running')
        finally:
            os.close(fd)

    def test_dump_plugin(self):
        done = self.nbdkit('--dump-plugin', str(self.env.plugin))
        self.assertEqual(done.returncode, 0)
        lines = done.stdout.splitlines()
        for line in ('name=rnbd', 'thread_model=parallel', 'api_version=2',
                     'errno_is_preserved=1', 'rnbd_protocol=2'):
            self.assertIn(line, lines)
        fabrics = [line for line in lines if line.startswith('rnbd_fabrics=')]
        self.assertEqual(len(fabrics), 1)
        self.assertIn('softiwarp', fabrics[0])
        self.assertTrue(any(line.startswith('rnbd_version=') for line in lines))

    def test_help(self):
        done = self.nbdkit('--help', str(self.env.plugin))
        self.assertEqual(done.returncode, 0)
        for name in ('sessname', 'path', 'device_path', 'dest_port', 'access_mode', 'fabric',
                     'crc', 'io_timeout', 'write_zeroes'):
            self.assertIn(f'{name}=', done.stdout)

    def test_bad_parameters_end_before_the_fork(self):
        good = {'sessname': 'a', 'path': 'ip:127.0.0.1', 'device_path': 'disk'}
        for key, value in (('sessname', 'a/b'), ('sessname', 'x' * 255), ('path', '127.0.0.1'),
                           ('device_path', '../x'), ('device_path', 'x' * 4096),
                           ('dest_port', '0'), ('access_mode', 'w'), ('fabric', 'ether'),
                           ('crc', 'yes'), ('io_timeout', 'soon'), ('write_zeroes', '7'),
                           ('nonsense', 'x')):
            with self.subTest(key=key, value=value[:20]):
                done = self.start(*(f'{k}={v}' for k, v in {**good, key: value}.items()))
                self.assertEqual(done.returncode, 1)
                self.assertIn(f'{key}={value[:16]}', done.stderr)
                self.assertFalse(os.path.exists(self.pid_file))

    def test_bare_word_is_refused(self):
        done = self.start('sessname=a', 'path=ip:127.0.0.1', 'disk')
        self.assertEqual(done.returncode, 1)

    def test_unreachable_server_in_the_background(self):
        """nbdkit has forked and its parent succeeded: the user hears of it all the same."""
        done = self.start(*self.unreachable())
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn('127.0.0.1', done.stderr)
        self.assertIn('refused', done.stderr)
        self.assert_not_running()

    def test_unreachable_server_in_the_background_without_terminal(self):
        done = self.start(*self.unreachable(), stdout=subprocess.DEVNULL, cwd='/')
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn('refused', done.stderr)
        self.assert_not_running()

    def test_unreachable_server_in_the_background_with_v(self):
        done = self.start(*self.unreachable(), options=['-v'])
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn('refused', done.stderr)
        self.assert_not_running()

    def test_unreachable_server_in_the_foreground(self):
        done = self.start(*self.unreachable(), options=['-f'])
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn('refused', done.stderr)

    def test_unreachable_server_with_a_command(self):
        """The command gets an error from its server and does not hang."""
        if 'thread' in self.env.sanitizers:
            self.skipTest('/bin/sh does not run with the runtime of the thread sanitizer')
        for cwd in (None, '/'):
            with self.subTest(cwd=cwd):
                done = self.nbdkit('-U', '-', str(self.env.plugin), *self.unreachable(),
                                   '--run', 'nbdinfo --size "$uri" || exit 3', cwd=cwd)
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertIn('refused', done.stderr)


if __name__ == '__main__':
    BUILD_DIR = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
