"""Wrong parameters: nbdkit ends at once, before it forks, and says which and why."""

from lib.checks import check, check_equal, check_in

GOOD = {'sessname': 'e2e', 'path': 'ip:127.0.0.1', 'device_path': 'disk'}


def _refused(env, *wanted, options=(), **changes):
    parameters = {**GOOD, **changes}
    text = env.nbdkit_fails(*(f'{k}={v}' for k, v in parameters.items() if v is not None),
                            options=options, patience=20)
    for part in wanted:
        check_in(part, text, 'the message')


def test_unknown_parameter(env):
    _refused(env, 'devicepath', devicepath='disk')


def test_sessname_is_needed(env):
    _refused(env, 'sessname', sessname=None)


def test_path_is_needed(env):
    _refused(env, 'path', path=None)


def test_sessname_with_slash(env):
    _refused(env, 'sessname', 'a/b', sessname='a/b')


def test_sessname_with_dot(env):
    _refused(env, 'sessname', 'a.b', sessname='a.b')


def test_empty_sessname(env):
    _refused(env, 'sessname', sessname='')


def test_sessname_of_255_bytes(env):
    _refused(env, 'sessname', '254', sessname='s' * 255)


def test_sessname_of_4096_bytes(env):
    _refused(env, 'sessname', '254', sessname='s' * 4096)


def test_device_path_of_255_bytes(env):
    _refused(env, 'device_path', '254', device_path='d' * 255)


def test_device_path_of_4096_bytes(env):
    _refused(env, 'device_path', '254', device_path='d' * 4096)


def test_sessname_of_254_bytes_works(env):
    env.image('disk', 1 << 20)
    nbdkit = env.nbdkit(env.server(), 'disk', sessname=env.sessname().ljust(254, 's'))
    with nbdkit.connect() as handle:
        check_equal(handle.get_size(), 1 << 20, 'size')


def test_device_path_of_254_bytes_works(env):
    directory = 'd' * 126
    name = directory + '/' + 'n' * (254 - 127)
    check_equal(len(name), 254, 'length of the name')
    env.image(name, 1 << 20)
    nbdkit = env.nbdkit(env.server(), name)
    with nbdkit.connect() as handle:
        check_equal(handle.get_size(), 1 << 20, 'size')


def test_path_that_is_no_address(env):
    _refused(env, 'path', 'ip:nowhere.at.all', path='ip:nowhere.at.all')


def test_path_of_unknown_kind(env):
    _refused(env, 'path', 'tcp:127.0.0.1', path='tcp:127.0.0.1')


def test_bad_gid(env):
    _refused(env, 'path', path='gid:12345')


def test_bad_access_mode(env):
    _refused(env, 'access_mode', 'readonly', access_mode='readonly')


def test_bad_fabric(env):
    _refused(env, 'fabric', 'ethernet', fabric='ethernet')


def test_bad_crc(env):
    _refused(env, 'crc', 'maybe', crc='maybe')


def test_bad_dest_port(env):
    for port in ('0', '65536', '-1', '1234x', ''):
        _refused(env, 'dest_port', dest_port=port)


def test_bad_io_timeout(env):
    for timeout in ('-1', 'soon', '1h1'):
        _refused(env, 'io_timeout', io_timeout=timeout)


def test_dump_plugin(env):
    text = env.run('nbdkit', '--dump-plugin', env.plugin,
                   env=env.variables(preloaded=True)).stdout
    check_in('name=rnbd', text)
    check_in('thread_model=parallel', text)


def test_help_names_every_parameter(env):
    text = env.run('nbdkit', '--help', env.plugin, env=env.variables(preloaded=True)).stdout
    for parameter in ('sessname', 'path', 'device_path', 'dest_port', 'access_mode', 'fabric',
                      'crc', 'io_timeout'):
        check_in(f'{parameter}=', text, 'the help')


def test_parameters_in_any_order(env):
    """dest_port= holds for every path, also for those in front of it."""
    env.image('disk', 1 << 20)
    server = env.server()
    parameters = env.parameters(server, 'disk')
    for order in (parameters, parameters[::-1]):
        nbdkit = env.nbdkit_with(order)
        with nbdkit.connect() as handle:
            check_equal(handle.get_size(), 1 << 20, 'size')
        check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')


def test_source_address_both_spellings(env):
    env.image('disk', 1 << 20)
    server = env.server()
    for path in ('ip:127.0.0.1@ip:127.0.0.1', 'ip:127.0.0.1,ip:127.0.0.1'):
        nbdkit = env.nbdkit(server, 'disk', path=path)
        with nbdkit.connect() as handle:
            check(handle.get_size() > 0, 'no size')
        check_equal(nbdkit.stop(), 0, 'exit code of nbdkit')
