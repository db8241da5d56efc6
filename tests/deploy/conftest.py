"""One chain for all tests, because its start takes seconds. Tests must leave it running."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import chain as parts


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    for item in items:
        if "tests/deploy/" in item.nodeid and "test_files" not in item.nodeid:
            # They run in one pytest process, because they share the chain.
            item.add_marker(pytest.mark.xdist_group("deploy"))
            item.add_marker(pytest.mark.slow)
            reason = "the chain has a PostgreSQL server"
            item.add_marker(pytest.mark.only_on("postgresql", reason=reason))
    return (yield)


def need(program: str) -> None:
    """Skip the test if `program` is missing; in CI, the test then fails."""
    if not parts.installed(program) and not os.environ.get("CI"):
        pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="session")
def database():
    need("nginx")
    # Not in pytest's directory, which other users cannot read: if the tests run as root, PostgreSQL
    # runs as another user.
    with tempfile.TemporaryDirectory(prefix="chain-") as directory:
        database = parts.Database(Path(directory))
        yield database
        database.close()


@pytest.fixture(scope="session")
def chain(database, tmp_path_factory):
    """PostgreSQL, the service with two workers, and Nginx; tests must leave it running."""
    chain = parts.Chain(database, tmp_path_factory.mktemp("chain"), workers=2)
    yield chain
    chain.close()
