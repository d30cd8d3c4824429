"""scripts/demo, as a person runs it, and the benchmark."""

import json
import os

from lib.checks import check, check_equal, check_in, plain_build_only

A_PERSONS = 'a person runs it without sanitizers'


def _demo(env, *arguments, before=()):
    variables = env.variables()
    variables['RNBD_BUILD_DIR'] = str(env.build_dir)
    return env.run(*before, env.source_dir / 'scripts' / 'demo', '--no-setup', '--size', '32',
                   *arguments, patience=200, env=variables).stdout


@plain_build_only(A_PERSONS)
def test_demo(env):
    text = _demo(env)
    check_in('all that was compared is the same', text)
    check('FAILED' not in text, text)


@plain_build_only(A_PERSONS)
def test_two_demos_at_once(env):
    os.environ['RNBD_BUILD_DIR'] = str(env.build_dir)
    demos = [env.start('demo', env.source_dir / 'scripts' / 'demo', '--no-setup', '--size', '32')
             for _ in range(2)]
    for demo in demos:
        check_equal(demo.wait(patience=200), 0, 'exit code of the demo')
        check_in('all that was compared is the same', demo.output())


@plain_build_only(A_PERSONS)
def test_demo_with_ipv6_only(env):
    """In a network namespace whose loopback has no IPv4 address."""
    enter = ['unshare', '--net', 'sh', '-c',
             'ip link set lo up && ip addr del 127.0.0.1/8 dev lo && exec "$@"', 'sh']
    probe = env.run(*enter, 'ip', '-6', 'addr', 'show', 'lo', status=None)
    if probe.returncode != 0 or '::1' not in probe.stdout:
        env.skip(f'no network namespace with IPv6: {probe.stderr.strip()}')
    text = _demo(env, before=enter)
    check_in('listening on', text)
    check_in('::1', text)
    check_in('all that was compared is the same', text)


def test_demo_fails_without_a_server(env):
    """Its exit code must tell: a build that lacks the server."""
    variables = env.variables()
    variables['RNBD_BUILD_DIR'] = str(env.tmp)
    done = env.run(env.source_dir / 'scripts' / 'demo', '--no-setup', '--size', '32', status=None,
                   env=variables)
    check(done.returncode > 0, 'exit code 0')


@plain_build_only('figures of a sanitized build mean nothing')
def test_bench(env):
    """One job, one round, every row: it runs and its figures make sense."""
    variables = env.variables()
    variables['RNBD_BUILD_DIR'] = str(env.build_dir)
    report = env.tmp / 'report.json'
    done = env.run(env.source_dir / 'scripts' / 'bench', '--quick', '--rounds', '1', '--seconds',
                   '0.3', '--size', '64', '--jobs', '4k-read-4x32,1m-write', '--json', report,
                   patience=200, env=variables)
    check_in('4k-read-4x32', done.stdout)
    results = json.loads(report.read_text(encoding='utf-8'))['results']
    check_equal(len(results), 2 * 6, 'number of results')
    for result in results:
        check(result['iops'] > 0, f'no I/O in {result}')
