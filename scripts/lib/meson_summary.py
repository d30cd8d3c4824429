#!/usr/bin/python3
"""Counts what `meson test` ran: single GoogleTest cases where a program has them.

  meson_summary.py BUILD_DIR

Reads meson-logs/testlog.json, says why cases were skipped, and ends with
"N passed, N failed, N skipped".
"""

import json
import pathlib
import re
import sys

_CASE = re.compile(r'^\[ +(OK|FAILED|SKIPPED) +\] (\S+?)(?:,.*)? \(\d+ ms\)$', re.MULTILINE)


def skip_reasons(output):
    """GoogleTest writes "FILE:LINE: Skipped", then the reason."""
    return dict(re.findall(r'^\[ RUN +\] (\S+)\n(?:.*\n)*?.*: Skipped\n(.*)\n', output, re.MULTILINE))


def count(entry):
    """(passed, failed, skipped) of one program."""
    output = entry.get('stdout', '')
    results = [result for result, _ in _CASE.findall(output)]
    counts = [results.count(result) for result in ('OK', 'FAILED', 'SKIPPED')]
    if counts[2]:
        reasons = skip_reasons(output)
        for result, case in _CASE.findall(output):
            if result == 'SKIPPED':
                print(f'skipped: {entry["name"]} {case}: {reasons.get(case, "no reason given")}')
    if entry['result'] in ('OK', 'EXPECTEDFAIL'):
        return counts if results else [1, 0, 0]
    if entry['result'] == 'SKIP':
        print(f'skipped: {entry["name"]}: {output.strip()[-200:] or "no reason given"}')
        return [0, 0, 1]
    # A crash or a hang shows in no case: then the program itself has failed.
    counts[1] = max(counts[1], 1)
    print(f'failed: {entry["name"]}: {entry["result"]}')
    return counts


def main():
    log = pathlib.Path(sys.argv[1]) / 'meson-logs' / 'testlog.json'
    totals = [0, 0, 0]
    for line in log.read_text(encoding='utf-8').splitlines():
        totals = [a + b for a, b in zip(totals, count(json.loads(line)))]
    print(f'{totals[0]} passed, {totals[1]} failed, {totals[2]} skipped')


if __name__ == '__main__':
    main()
