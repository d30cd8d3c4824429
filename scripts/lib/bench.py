#!/usr/bin/python3
"""Side-by-side benchmark of NBD servers and gateways, run by scripts/bench.

Every measurement starts a fresh chain of servers (a row), runs one fio job
against it, and stops the chain. Rounds alternate: each round measures every row
of a job before the next round begins, starting at another row each time, so that
a machine that changes its speed changes it for all. Only ratios within one run
mean anything.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench_fio import JOBS, CpuMeter, run_fio  # noqa: E402
from bench_options import choose  # noqa: E402
from bench_report import Report  # noqa: E402
from bench_rows import DEFAULT_ROWS, ROWS, BenchError  # noqa: E402

MEDIA = {'shm': '/dev/shm', 'disk': '/var/tmp'}


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog='scripts/bench', formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Measures NBD access to a file through chains of servers, side by side.',
        epilog='rows:\n' + '\n'.join(f'  {n:8} {r.title}' for n, r in ROWS.items()) +
        '\njobs:\n  ' + ' '.join(JOBS))
    parser.add_argument('--rows', help='comma separated, default: all but file')
    parser.add_argument('--jobs', help='comma separated, default: all')
    parser.add_argument('--media', help='shm,disk (default: both)')
    parser.add_argument('--rounds', type=int, help='default 5')
    parser.add_argument('--seconds', type=float, help='of one measurement, default 4')
    parser.add_argument('--size', type=int, default=1024, help='of the file, in MiB')
    parser.add_argument('--quick', action='store_true',
                        help='3 rounds of 2 seconds, on tmpfs')
    parser.add_argument('--server-args', default='', help='more flags for rnbd-server')
    parser.add_argument('--plugin-args', default='', help='more parameters for nbdkit rnbd')
    parser.add_argument('--json', metavar='FILE', help='write all figures there')
    parser.add_argument('--build-dir', required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (2 if options.quick else 4)
    options.media = choose('medium', options.media, MEDIA, ['shm'] if options.quick
                           else list(MEDIA))
    options.rows = choose('row', options.rows, ROWS, DEFAULT_ROWS)
    options.jobs = choose('job', options.jobs, JOBS, list(JOBS))
    return options


def make_image(directory, size_mib):
    """A file with real blocks: holes would be read without touching the medium."""
    path = os.path.join(directory, 'disk.img')
    block = os.urandom(1 << 20)
    with open(path, 'wb') as image:
        for _ in range(size_mib):
            image.write(block)
        image.flush()
        os.fsync(image.fileno())
    return path


def measure(row, job, image, options):
    """One measurement: a dict of figures."""
    with tempfile.TemporaryDirectory(prefix='rnbd-bench-') as scratch:
        with row.start(image, scratch, options) as chain:
            # The first connect is not part of what is measured.
            run_fio(job, chain.uri, 0.2)
            meter = CpuMeter(chain.pids())
            result = run_fio(job, chain.uri, options.seconds)
            result['server_cpu_seconds'] = meter.used()
    with open(image, 'rb') as written:
        os.fsync(written.fileno())
    return result


def run(options, report):
    for medium in options.media:
        with tempfile.TemporaryDirectory(prefix='rnbd-bench-', dir=MEDIA[medium]) as directory:
            image = make_image(directory, options.size)
            for job in options.jobs:
                for number in range(options.rounds):
                    shift = number % len(options.rows)
                    for name in options.rows[shift:] + options.rows[:shift]:
                        result = measure(ROWS[name], JOBS[job], image, options)
                        report.add(medium, job, name, result)
                        print(f'  {medium:4} {job:14} round {number + 1}/{options.rounds} '
                              f'{name:7} {result["iops"]:10.0f} IOPS', file=sys.stderr, flush=True)
                print('\n' + report.job_table(medium, job) + '\n', flush=True)


def main():
    options = parse_arguments()
    report = Report(options, {name: ROWS[name].title for name in options.rows})
    try:
        run(options, report)
    except BenchError as error:
        sys.exit(f'bench: {error}')
    except KeyboardInterrupt:
        sys.exit('bench: interrupted')
    print(report.ratio_table())
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as out:
            json.dump(report.as_json(), out, indent=1)
            out.write('\n')


if __name__ == '__main__':
    main()
