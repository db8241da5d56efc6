"""Backoff for rows that another transaction keeps locked: later callers do not wait for them.

A caller that waits occupies one of the server's few threads. A single forgotten transaction and a
few callers that retry would otherwise occupy all of them.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError
from psycopg.errors import LockNotAvailable

# The key of the workspace, and the business id.
Row = tuple[int, str]

# How long to remember that a row was not available.
MEMORY_SECONDS = 5
MAX_ROWS = 1_000

# The rows that this process could not lock, and until when it does not wait for them.
unavailable_until: dict[Row, float] = {}


@contextmanager
def remembered(row: Row) -> Iterator[None]:
    """Around a statement that locks `row`: remember whether its lock was available."""
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            if len(unavailable_until) >= MAX_ROWS:
                unavailable_until.clear()
            unavailable_until[row] = time.monotonic() + MEMORY_SECONDS
        raise
    unavailable_until.pop(row, None)
