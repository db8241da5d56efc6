"""Processes that share a command's work.

No model is imported here: a new process reads this module before it has set Django up.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from typing import Any

import django


@contextmanager
def workers(count: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map(work, batches)`: here, or in so many processes; results come in order."""
    if count == 1:
        yield map
        return
    # Not forked: two would use copies of one open database connection.
    executor = ProcessPoolExecutor(count, get_context("spawn"), initializer=_set_up)
    try:
        yield partial(_spread, executor, count)
    finally:
        executor.shutdown(cancel_futures=True)


def _spread(
    executor: ProcessPoolExecutor, count: int, work: Callable[..., Any], batches: Iterable[Any]
) -> Iterator[Any]:
    pending: deque[Future[Any]] = deque()
    for batch in batches:
        pending.append(executor.submit(work, batch))
        # Enough for no process to wait, and no more: the batches of a million rows take memory.
        if len(pending) > 2 * count:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _set_up() -> None:
    django.setup()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)
