"""Medians, ratios and tables of the benchmark."""

import collections
import os
import platform
import statistics


def _spread(values):
    """Half the distance from least to greatest, in percent of the median."""
    median = statistics.median(values)
    return 100 * (max(values) - min(values)) / 2 / median if median else 0.0


class Report:
    def __init__(self, options, titles):
        self._options = options
        self._titles = titles
        # (medium, job) -> row -> list of results, one a round.
        self._results = collections.defaultdict(lambda: collections.defaultdict(list))

    def add(self, medium, job, row, result):
        self._results[medium, job][row].append(result)

    def _figures(self, medium, job, row):
        results = self._results[medium, job][row]

        def median(value):
            return statistics.median(value(result) for result in results)

        def per_million(result, *keys):
            return sum(result[key] for key in keys) / result['ios'] * 1e6

        return {
            'iops': median(lambda r: r['iops']),
            'spread_percent': _spread([r['iops'] for r in results]),
            'mib_per_second': median(lambda r: r['bytes_per_second']) / (1 << 20),
            'latency_us_mean': median(lambda r: r['latency_us_mean']),
            'latency_us_p99': median(lambda r: r['latency_us_p99']),
            'server_cpu_seconds_per_million':
                median(lambda r: per_million(r, 'server_cpu_seconds')),
            'total_cpu_seconds_per_million':
                median(lambda r: per_million(r, 'server_cpu_seconds', 'client_cpu_seconds')),
        }

    def _ratio(self, medium, job, row):
        """Median of the ratios of (a) to `row`, taken round by round."""
        mine = self._results[medium, job].get('a', [])
        other = self._results[medium, job].get(row, [])
        ratios = [m['iops'] / o['iops'] for m, o in zip(mine, other) if o['iops']]
        return statistics.median(ratios) if ratios else None

    def job_table(self, medium, job):
        lines = [f'{job} on {medium}',
                 f'  {"row":8}{"IOPS":>9}{"±%":>6}{"MiB/s":>8}{"mean µs":>9}{"p99 µs":>9}'
                 f'{"CPU s/M":>9}{"total":>8}{"a ÷ row":>9}']
        for row in self._options.rows:
            f = self._figures(medium, job, row)
            ratio = self._ratio(medium, job, row)
            lines.append(
                f'  {row:8}{f["iops"]:9.0f}{f["spread_percent"]:6.1f}{f["mib_per_second"]:8.0f}'
                f'{f["latency_us_mean"]:9.1f}{f["latency_us_p99"]:9.1f}'
                f'{f["server_cpu_seconds_per_million"]:9.1f}'
                f'{f["total_cpu_seconds_per_million"]:8.1f}'
                + (f'{ratio:9.2f}' if ratio else f'{"-":>9}'))
        return '\n'.join(lines)

    def ratio_table(self):
        lines = ['Medians. IOPS of each row; in parentheses how many times that (a) is.',
                 'CPU s/M in the tables above: CPU seconds of all servers per million '
                 'requests; total: with the client.', '']
        lines += [f'  {row:8}{title}' for row, title in self._titles.items()]
        lines += ['', f'  {"":20}' + ''.join(f'{row:>17}' for row in self._options.rows)]
        for medium, job in self._results:
            cells = ''
            for row in self._options.rows:
                ratio = self._ratio(medium, job, row) if row != 'a' else None
                cell = f'{self._figures(medium, job, row)["iops"]:.0f}'
                cell += f' ({ratio:.2f})' if ratio else ''
                cells += f'{cell:>17}'
            lines.append(f'  {medium + " " + job:20}{cells}')
        return '\n'.join(lines)

    def as_json(self):
        def entry(medium, job, row):
            ratio = self._ratio(medium, job, row)
            return {'medium': medium, 'job': job, 'row': row,
                    **self._figures(medium, job, row), 'a_to_this': ratio,
                    'rounds': self._results[medium, job][row]}

        return {
            'machine': {'cores': os.cpu_count(), 'kernel': platform.release()},
            'seconds': self._options.seconds,
            'file_mib': self._options.size,
            'rows': self._titles,
            'results': [entry(medium, job, row)
                        for (medium, job), rows in self._results.items() for row in rows],
        }
