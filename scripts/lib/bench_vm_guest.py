"""Measures block devices in a guest of scripts/vm, for scripts/bench --vm.

bench_vm_guest.py ROW=DEVICE... --rounds N --seconds S --jobs A,B: in each round
each device runs all jobs once, starting at another device each time, so that a
machine that changes its speed changes it for all. Writes /lab/results.json.
"""

import argparse
import collections
import json
import subprocess
import sys

Job = collections.namedtuple('Job', 'rw block_size depth')

JOBS = {
    '4k-read-qd1': Job('randread', '4k', 1),
    '4k-write-qd1': Job('randwrite', '4k', 1),
    '4k-read-qd32': Job('randread', '4k', 32),
    '4k-write-qd32': Job('randwrite', '4k', 32),
    '128k-read-qd8': Job('read', '128k', 8),
    '128k-write-qd8': Job('write', '128k', 8),
}


def measure(device, jobs, seconds):
    """All jobs one after the other: starting fio takes as long as a job."""
    command = ['fio', '--output-format=json', '--ioengine=libaio', '--direct=1',
               f'--filename={device}', '--time_based', f'--runtime={int(seconds * 1000)}ms',
               '--ramp_time=200ms', '--norandommap', '--randrepeat=0', '--thread']
    for name in jobs:
        job = JOBS[name]
        command += [f'--name={name}', '--stonewall', f'--rw={job.rw}',
                    f'--bs={job.block_size}', f'--iodepth={job.depth}']
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, cwd='/tmp', timeout=600)
    text = done.stdout[done.stdout.find('{'):]
    if done.returncode != 0 or not text:
        sys.exit(f'bench: {" ".join(command)} failed:\n{done.stdout}{done.stderr}')
    figures = {}
    for result in json.loads(text)['jobs']:
        if result['error'] != 0:
            sys.exit(f'bench: {device}: I/O error {result["error"]} in {result["jobname"]}')
        side = result['write' if 'write' in JOBS[result['jobname']].rw else 'read']
        figures[result['jobname']] = {
            'iops': side['iops'],
            'bytes_per_second': side['bw_bytes'],
            'latency_us_mean': side['clat_ns']['mean'] / 1000,
            'latency_us_p99':
                side['clat_ns'].get('percentile', {}).get('99.000000', 0) / 1000,
        }
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('devices', nargs='+')
    parser.add_argument('--rounds', type=int, required=True)
    parser.add_argument('--seconds', type=float, required=True)
    parser.add_argument('--jobs', required=True)
    options = parser.parse_args()
    devices = [device.split('=', 1) for device in options.devices]
    jobs = options.jobs.split(',')
    rounds = []
    for number in range(options.rounds):
        shift = number % len(devices)
        figures = {}
        for row, device in devices[shift:] + devices[:shift]:
            figures[row] = measure(device, jobs, options.seconds)
            iops = '  '.join(f'{job} {figures[row][job]["iops"]:.0f}' for job in jobs)
            print(f'  round {number + 1}/{options.rounds} {row:20} {iops}', file=sys.stderr,
                  flush=True)
        rounds.append(figures)
        # After each round, so that a run that is cut short is worth something.
        with open('/lab/results.json', 'w', encoding='utf-8') as out:
            json.dump({'rounds': rounds}, out)


if __name__ == '__main__':
    main()
