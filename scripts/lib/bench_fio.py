"""fio jobs of the benchmark, and what they and the servers cost in CPU time."""

import collections
import json
import os
import subprocess

from bench_rows import BenchError

Job = collections.namedtuple('Job', 'rw block_size depth connections')

JOBS = {
    '4k-read-qd1': Job('randread', '4k', 1, 1),
    '4k-write-qd1': Job('randwrite', '4k', 1, 1),
    '4k-read-qd32': Job('randread', '4k', 32, 1),
    '4k-write-qd32': Job('randwrite', '4k', 32, 1),
    '4k-read-4x32': Job('randread', '4k', 32, 4),
    '4k-write-4x32': Job('randwrite', '4k', 32, 4),
    '128k-read': Job('read', '128k', 8, 1),
    '128k-write': Job('write', '128k', 8, 1),
    '1m-read': Job('read', '1m', 8, 1),
    '1m-write': Job('write', '1m', 8, 1),
}

_TICKS = os.sysconf('SC_CLK_TCK')


class CpuMeter:
    """CPU seconds used by processes since the meter was made."""

    def __init__(self, pids):
        self._pids = pids
        self._start = self._now()

    def _now(self):
        total = 0
        for pid in self._pids:
            with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as stat:
                # The name in parentheses may hold anything; utime and stime
                # are the 12th and 13th field behind it.
                fields = stat.read().rpartition(')')[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def used(self):
        return self._now() - self._start


def run_fio(job, uri, seconds):
    """Runs `job` and returns IOPS, bytes per second, latencies and CPU time."""
    command = [
        'fio', '--name=bench', '--ioengine=nbd', f'--uri={uri}', f'--rw={job.rw}',
        f'--bs={job.block_size}', f'--iodepth={job.depth}', f'--numjobs={job.connections}',
        '--group_reporting', '--time_based', f'--runtime={int(seconds * 1000)}ms',
        '--norandommap', '--randrepeat=0', '--thread', '--output-format=json',
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=seconds + 60)
    except subprocess.TimeoutExpired:
        raise BenchError(f'no end of {" ".join(command)}') from None
    # fio writes notes in front of the JSON text.
    text = done.stdout[done.stdout.find('{'):]
    if done.returncode != 0 or not text:
        raise BenchError(f'{" ".join(command)} failed:\n{done.stdout}{done.stderr}')
    fio_job = json.loads(text)['jobs'][0]
    if fio_job['error'] != 0:
        raise BenchError(f'{" ".join(command)}: I/O error {fio_job["error"]}')
    side = fio_job['write' if 'write' in job.rw else 'read']
    cpu = (fio_job['usr_cpu'] + fio_job['sys_cpu']) / 100 * fio_job['job_runtime'] / 1000
    return {
        'iops': side['iops'],
        'bytes_per_second': side['bw_bytes'],
        'ios': side['total_ios'],
        'latency_us_mean': side['clat_ns']['mean'] / 1000,
        'latency_us_p99': side['clat_ns'].get('percentile', {}).get('99.000000', 0) / 1000,
        'client_cpu_seconds': cpu,
    }
