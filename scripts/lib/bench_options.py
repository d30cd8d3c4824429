"""Lists of names on the benchmarks' command lines."""

import sys


def choose(what, text, known, default):
    """The names in `text`, separated by commas; without any text `default`."""
    if text is None:
        return default
    names = text.split(',')
    for name in names:
        if name not in known:
            sys.exit(f'bench: no {what} {name}; there are {", ".join(known)}')
    return names
