#!/usr/bin/python3
"""Side-by-side benchmark of RDMA block devices in one guest: scripts/bench --vm.

All rows run in one guest, client and server of each, in alternating rounds: over
one soft RoCE device that talks to itself, or (wire-...) over a pair of network
interfaces of their own, where packets leave one and arrive at the other. Figures
of an emulated guest say nothing about hardware; the ratios say how much work one
end is compared to the other.
"""

import argparse
import json
import math
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from bench_options import choose  # noqa: E402
from bench_vm_guest import JOBS  # noqa: E402

ROWS = {
    'kernel-kernel': 'kernel client -> kernel server, always_invalidate=N',
    'kernel-ours': 'kernel client -> rnbd-server',
    'plugin-kernel': '/dev/nbd -> nbdkit rnbd -> kernel server, always_invalidate=N',
    'plugin-ours': '/dev/nbd -> nbdkit rnbd -> rnbd-server',
    'nvme': 'nvme-rdma -> nvmet',
    'nbdkit': '/dev/nbd -> nbdkit file, unix socket (no RDMA)',
    'qemu-nbd': '/dev/nbd -> qemu-nbd, unix socket (no RDMA)',
    'wire-rxe': 'plugin-ours over a wire, both ends fabric=verbs on soft RoCE',
    'wire-softroce': 'plugin-ours over a wire, both ends fabric=softroce',
    'wire-rxe-kernel': 'plugin-kernel over a wire, fabric=verbs on soft RoCE',
    'wire-softroce-kernel': 'plugin-kernel over a wire, fabric=softroce',
}
# Ratio, and what the project wants of it. nbdkit on a file shows what /dev/nbd and
# nbdkit leave of a kernel block device before there is any network.
RATIOS = [('kernel-ours', 'kernel-kernel', 1.0), ('plugin-kernel', 'kernel-kernel', 0.8),
          ('plugin-ours', 'kernel-kernel', 0.8), ('plugin-ours', 'nbdkit', None),
          ('nbdkit', 'kernel-kernel', None), ('kernel-ours', 'nvme', None),
          ('wire-softroce', 'wire-rxe', 1.0),
          ('wire-softroce-kernel', 'wire-rxe-kernel', 1.0)]


def median_interval(values):
    """Median, and the order statistics around it that hold the true one with 95 %
    probability (least and greatest where there are too few for that)."""
    ordered = sorted(values)
    n = len(ordered)
    low = 0
    # P(fewer than k+1 of n lie below the median) = sum of binomial(n, i) / 2^n.
    while low + 1 <= (n - 1) // 2 and \
            2 * sum(math.comb(n, i) for i in range(low + 2)) / 2 ** n <= 0.05:
        low += 1
    return statistics.median(ordered), ordered[low], ordered[n - 1 - low]


def interval_of(rounds, row, job):
    return median_interval([figures[row][job]['iops'] for figures in rounds])


def ratio_of(rounds, over, under, job):
    # On a busy machine a measurement may end before its first I/O: that is one.
    return median_interval([max(1, figures[over][job]['iops']) /
                            max(1, figures[under][job]['iops']) for figures in rounds])


def tables(rounds, rows, jobs):
    lines = ['IOPS: median (95 % interval of the median)', '',
             f'  {"":20}' + ''.join(f'{job:>24}' for job in jobs)]
    for row in rows:
        cells = ''
        for job in jobs:
            median, low, high = interval_of(rounds, row, job)
            cells += f'{f"{median:.0f} ({low:.0f}-{high:.0f})":>24}'
        lines.append(f'  {row:20}{cells}')
    lines += ['', 'Ratios, taken round by round', '']
    for over, under, goal in RATIOS:
        if over not in rows or under not in rows:
            continue
        cells = ''
        for job in jobs:
            median, low, high = ratio_of(rounds, over, under, job)
            cells += f'{f"{median:.2f} ({low:.2f}-{high:.2f})":>24}'
        lines += [f'  {over} / {under}' + (f', goal {goal}' if goal else ''),
                  f'  {"":20}{cells}']
    return '\n'.join(lines)


def as_json(rounds, rows, jobs, options):
    def entry(row, job):
        median, low, high = interval_of(rounds, row, job)
        return {'row': row, 'job': job, 'iops': median, 'iops_low': low, 'iops_high': high,
                'latency_us_mean': statistics.median(
                    figures[row][job]['latency_us_mean'] for figures in rounds),
                'latency_us_p99': statistics.median(
                    figures[row][job]['latency_us_p99'] for figures in rounds)}

    def ratio(over, under, goal, job):
        median, low, high = ratio_of(rounds, over, under, job)
        return {'row': over, 'to': under, 'job': job, 'goal': goal, 'ratio': median,
                'ratio_low': low, 'ratio_high': high}

    return {
        'machine': {'cores': os.cpu_count(), 'kernel': platform.release()},
        'seconds': options.seconds,
        'rows': {row: ROWS[row] for row in rows},
        'results': [entry(row, job) for row in rows for job in jobs],
        'ratios': [ratio(*wanted, job) for wanted in RATIOS for job in jobs
                   if wanted[0] in rows and wanted[1] in rows],
        'rounds': rounds,
    }


def main():
    parser = argparse.ArgumentParser(
        prog='scripts/bench --vm', formatter_class=argparse.RawDescriptionHelpFormatter,
        description='Measures block devices over soft RoCE in one guest, side by side.',
        epilog='rows:\n' + '\n'.join(f'  {n:20} {title}' for n, title in ROWS.items()) +
        '\njobs:\n  ' + ' '.join(JOBS))
    parser.add_argument('--rows', help='comma separated, default: all')
    parser.add_argument('--jobs', help='comma separated, default: all')
    parser.add_argument('--rounds', type=int, default=10, help='default 10')
    parser.add_argument('--seconds', type=float, default=1.0,
                        help='of one measurement, default 1')
    parser.add_argument('--json', metavar='FILE', help='write all figures there')
    parser.add_argument('--build-dir', required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    rows = choose('row', options.rows or None, ROWS, list(ROWS))
    jobs = choose('job', options.jobs or None, JOBS, list(JOBS))
    if options.rounds < 1:
        sys.exit('bench: --rounds must be at least 1')
    # Generous: a guest that shares its processors takes several times as long.
    limit = 600 + int(options.rounds * len(rows) * (len(jobs) * (options.seconds + 1) + 5) * 5)
    directory = tempfile.mkdtemp(prefix='rnbd-bench-')
    try:
        status = subprocess.run(
            [str(HERE.parent / 'vm'), 'run', '-m', '3072', '-t', str(limit), '-o', directory,
             str(HERE / 'bench-vm.sh'), os.path.realpath(options.build_dir), *rows, '--',
             '--rounds', str(options.rounds), '--seconds', str(options.seconds),
             '--jobs', ','.join(jobs)], check=False).returncode
        if status != 0:
            sys.exit(f'bench: the guest failed with {status}')
        with open(os.path.join(directory, 'results.json'), encoding='utf-8') as results:
            rounds = json.load(results)['rounds']
    finally:
        shutil.rmtree(directory)
    print(tables(rounds, rows, jobs))
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as out:
            json.dump(as_json(rounds, rows, jobs, options), out, indent=1)
            out.write('\n')


if __name__ == '__main__':
    main()
