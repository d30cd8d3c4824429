"""What a test says about what it found."""

import hashlib


class Skip(Exception):
    """The test cannot run here; the text says why."""


class Failure(AssertionError):
    """The test found something wrong."""


def plain_build_only(why):
    """Marks a test that is no test of a sanitized build: the runner leaves it out."""
    def mark(function):
        function.plain_build_only = why
        return function
    return mark


def check(condition, text):
    if not condition:
        raise Failure(text)


def check_equal(actual, wanted, what):
    if actual != wanted:
        raise Failure(f'{what}: {actual!r}, wanted {wanted!r}')


def check_in(part, text, what='output'):
    """`part` may be a tuple: any of them will do. Letter case is ignored."""
    parts = part if isinstance(part, tuple) else (part,)
    if not any(p.lower() in text.lower() for p in parts):
        raise Failure(f'{what} has no {" or ".join(map(repr, parts))}:\n{text}')


def check_raises(kind, function, *args):
    """Calls and returns the exception, which must be of `kind`."""
    try:
        function(*args)
    except kind as error:
        return error
    raise Failure(f'{getattr(function, "__name__", function)}{args!r:.200} did not fail')


def sha256(path):
    digest = hashlib.sha256()
    with open(path, 'rb') as data:
        while block := data.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
