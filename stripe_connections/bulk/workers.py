"""Processes that share a command's work."""

import gc
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing import get_context, parent_process
from typing import Any

from django.db import connection


@contextmanager
def workers(count: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map(work, batches)`: here, or in so many processes; results come in order."""
    # The collector would look through all of Django again for every few thousand tokens, which
    # took an eighth of a rotation.
    gc.freeze()
    try:
        with _processes(count) if count > 1 else nullcontext(map) as do:
            yield do
    finally:
        gc.unfreeze()


@contextmanager
def _processes(count: int) -> Iterator[Callable[..., Iterable[Any]]]:
    # Forked, so that they work at once: to start Python and Django takes as long as 15,000 rows.
    # Nobody may use a copy of an open connection.
    connection.close()
    executor = ProcessPoolExecutor(count, get_context("fork"), initializer=_watch_parent)
    executor.submit(int).result()
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


def _watch_parent() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)
