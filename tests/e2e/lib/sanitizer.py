"""Running a sanitized build: what has to be set, and where the reports go.

Debian's nbdkit is not sanitized but loads our plugin, which is: the runtime of
the sanitizer has to be in the process before anything else, so it is preloaded.
"""

import functools
import json
import os
import subprocess


def sanitizers_of(build_dir):
    """The build option b_sanitize as a list: [], ['address', 'undefined'], ..."""
    path = os.path.join(build_dir, 'meson-info', 'intro-buildoptions.json')
    try:
        with open(path, encoding='utf-8') as text:
            options = json.load(text)
    except FileNotFoundError:
        return []
    for option in options:
        if option['name'] == 'b_sanitize' and option['value'] != 'none':
            return option['value'].split(',')
    return []


def environment(sanitizers, report_prefix, suppressions_dir):
    """Variables for every program under test."""
    common = f'log_path={report_prefix}:halt_on_error=1:abort_on_error=0'
    found = {}
    if 'address' in sanitizers:
        found['ASAN_OPTIONS'] = f'{common}:detect_stack_use_after_return=1:exitcode=99'
        found['LSAN_OPTIONS'] = f'suppressions={suppressions_dir}/lsan.supp:print_suppressions=0'
    if 'undefined' in sanitizers:
        found['UBSAN_OPTIONS'] = f'{common}:print_stacktrace=1'
    if 'thread' in sanitizers:
        found['TSAN_OPTIONS'] = (f'{common}:exitcode=99:second_deadlock_stack=1:'
                                 f'suppressions={suppressions_dir}/tsan.supp')
    return found


def _compiler(build_dir):
    """The C++ compiler of a build, as meson calls it."""
    path = os.path.join(build_dir, 'meson-info', 'intro-targets.json')
    with open(path, encoding='utf-8') as text:
        return next(group['compiler'] for target in json.load(text)
                    for group in target['target_sources'] if group.get('language') == 'cpp')


@functools.cache
def _runtime(build_dir, name):
    """The sanitizer's shared library that belongs to a build's compiler."""
    compiler = _compiler(build_dir)
    library = f'lib{name}.so'
    if any('clang' in word for word in compiler):
        library = f'libclang_rt.{name}-{os.uname().machine}.so'
    done = subprocess.run([*compiler, f'-print-file-name={library}'], check=True,
                          capture_output=True, text=True)
    return os.path.realpath(done.stdout.strip())


def preload(sanitizers, build_dir):
    """Variables for a program that is not sanitized and loads what is."""
    libraries = [_runtime(build_dir, name)
                 for option, name in (('address', 'asan'), ('thread', 'tsan'))
                 if option in sanitizers]
    if not libraries:
        return {}
    # Without it nbdkit hangs at its end; the source says why.
    libraries.append(os.path.join(build_dir, 'tests', 'e2e', 'keep_locale.so'))
    return {'LD_PRELOAD': ':'.join(libraries)}
