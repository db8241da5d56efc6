"""Run the tests that reach a mutant in a fork of one pytest process.

This reads mutants as JSON from standard input and writes the survivors to standard output. Python,
Django and the tests are loaded once. A first fork runs all tests and records which lines each test
reaches. Then each mutant gets a fork in which the code of the changed function is replaced.
"""

import functools
import gc
import json
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import coverage
import pytest
from _pytest.runner import runtestprotocol
from django.db import connections

from tests.mutation.mutants import ROOT, Mutant

# A mutant that hangs counts as killed.
TIMEOUT_SECONDS = 300
PROJECT = ("config", "stripe_connections", "workspaces")
LOG = 2


class Measured(NamedTuple):
    """The results of the tests without a mutant."""

    failed: set[str]
    seconds: dict[str, float]
    # The tests that reach a line, by file and line.
    reached: dict[tuple[str, int], set[str]]


class Runner:
    """A pytest plugin that replaces the loop over the tests."""

    def __init__(self, mutants: list[Mutant]) -> None:
        self.mutants, self.alive = mutants, list[Mutant]()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        # The first test that uses the database creates it for all forks.
        assert passes(next(item for item in session.items if "db" in item.fixturenames))
        measured = in_fork(functools.partial(measure, session.items, paths(self.mutants)))
        write(f"{len(measured.seconds)} tests ran; without a change fail {measured.failed}")
        for number, mutant in enumerate(self.mutants, 1):
            items = reaching(mutant, session.items, measured)
            if items and in_fork(functools.partial(fails, mutant, items)):
                write(f"{number} killed    {mutant}")
            else:
                write(f"{number} SURVIVED {len(items)} tests: {mutant}")
                self.alive.append(mutant)
        return True


def write(text: str) -> None:
    os.write(LOG, f"{text}\n".encode())


def paths(mutants: list[Mutant]) -> list[str]:
    return sorted({str(ROOT / mutant.path) for mutant in mutants})


def in_fork(work: Callable[[], Any]) -> Any:
    """Run `work` in a fork and return its result, or True if it hangs."""
    connections.close_all()
    with tempfile.TemporaryFile() as file:
        pid = os.fork()
        if not pid:
            status = 1
            try:
                signal.alarm(TIMEOUT_SECONDS * (work.func is fails))
                pickle.dump(work(), file)
                file.flush()
                status = 0
            except Exception:
                write(traceback.format_exc())
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            return True
        assert status == 0, "see the traceback"
        file.seek(0)
        return pickle.load(file)


def passes(item: pytest.Item, following: pytest.Item | None = None) -> bool:
    reports = runtestprotocol(item, log=False, nextitem=following or item)
    return not any(report.failed for report in reports)


def measure(items: list[pytest.Item], files: list[str]) -> Measured:
    found = Measured(set(), {}, defaultdict(set))
    recorded = coverage.Coverage(data_file=None, include=files)
    caches = list(project_caches())
    recorded.start()
    for item, following in zip(items, [*items[1:], items[-1]], strict=True):
        for cache in caches:
            cache.cache_clear()
        recorded.switch_context(item.nodeid)
        started = time.perf_counter()
        if not passes(item, following):
            found.failed.add(item.nodeid)
        found.seconds[item.nodeid] = time.perf_counter() - started
    recorded.stop()
    for file in recorded.get_data().measured_files():
        for line, names in recorded.get_data().contexts_by_lineno(file).items():
            found.reached[os.path.relpath(file, ROOT), line] |= set(names)
    return found


def project_caches() -> Iterator[Any]:
    """The project's functions with `lru_cache`."""
    for cache in gc.get_objects():
        if type(cache) is functools._lru_cache_wrapper and cache.__module__.startswith(PROJECT):
            yield cache


def reaching(mutant: Mutant, items: list[pytest.Item], measured: Measured) -> list[pytest.Item]:
    """Return the tests that reach the mutant, fastest first."""
    names = {name for line in mutant.lines() for name in measured.reached[mutant.path, line]}
    found = [item for item in items if item.nodeid in names - measured.failed]
    return sorted(found, key=lambda item: measured.seconds[item.nodeid])


def fails(mutant: Mutant, items: list[pytest.Item]) -> bool:
    """Whether one of the tests fails with the mutant."""
    for cache in project_caches():
        cache.cache_clear()
    apply(mutant)
    return not all(map(passes, items, [*items[1:], items[-1]]))


def apply(mutant: Mutant) -> None:
    path = ROOT / mutant.path
    module = compile(mutant.applied(path.read_bytes()), path, "exec")
    codes = {(code.co_qualname, code.co_firstlineno): code for code in codes_in(module)}
    for function in gc.get_objects():
        if type(function) is FunctionType and function.__code__.co_filename == str(path):
            before = function.__code__
            after = codes[before.co_qualname, before.co_firstlineno]
            # A function cannot lose the variables of its closure, `super` for example.
            free = after.co_freevars or before.co_freevars
            function.__code__ = after.replace(co_freevars=free)


def codes_in(code: CodeType) -> Iterator[CodeType]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield inner
            yield from codes_in(inner)


if __name__ == "__main__":
    # pytest captures both.
    results, LOG = os.dup(1), os.dup(2)
    os.dup2(2, 1)
    runner = Runner([Mutant(*mutant) for mutant in json.load(sys.stdin)])
    pytest.main(["-q", "-p", "no:cacheprovider", "-m", "not slow", *sys.argv[1:]], [runner])
    os.write(results, json.dumps(runner.alive).encode())
