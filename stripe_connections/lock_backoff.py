"""Connections that somebody keeps locked: those who come later do not wait for them.

Whoever waits keeps a thread of the server's, and there are few: one forgotten transaction and a
handful of callers would keep everybody else waiting too, for as long as they try again.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError
from psycopg.errors import LockNotAvailable

# The key of the workspace, and the business id.
Row = tuple[int, str]

# How long to remember that somebody did not get a row.
MEMORY_SECONDS = 5
MAX_ROWS = 1_000

# The rows that this process did not get, and until when that is remembered.
_held: dict[Row, float] = {}


@contextmanager
def remembered(row: Row) -> Iterator[None]:
    """Take note of whether the block could lock `row`."""
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            if len(_held) >= MAX_ROWS:
                _held.clear()
            _held[row] = time.monotonic() + MEMORY_SECONDS
        raise
    _held.pop(row, None)


def is_held(row: Row | None) -> bool:
    """Whether somebody waited for `row` in vain a moment ago, and nobody has got it since."""
    return row is not None and _held.get(row, 0) > time.monotonic()
