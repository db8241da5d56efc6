"""Backoff for rows that another transaction keeps locked: later callers do not wait for them.

A caller that waits keeps one of the server's few threads. One forgotten transaction and a handful
of callers that retry would keep all of them.
"""

import time

from django.db import OperationalError
from psycopg.errors import LockNotAvailable

# The key of the workspace, and the business id.
Row = tuple[int, str]

# How long to remember that a row was not available.
MEMORY_SECONDS = 5
MAX_ROWS = 1_000

# The rows that this process could not lock, and until when that is remembered.
held: dict[Row, float] = {}


def note(row: Row, error: OperationalError) -> None:
    """Remember `row` if the error says that the lock was not available."""
    if isinstance(error.__cause__, LockNotAvailable):
        if len(held) >= MAX_ROWS:
            held.clear()
        held[row] = time.monotonic() + MEMORY_SECONDS
