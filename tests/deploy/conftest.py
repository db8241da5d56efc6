"""One chain for all of these tests, because a start costs seconds: each leaves it serving."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.deploy import chain as parts

# These take a PostgreSQL of their own, so once is enough: with the tests of PostgreSQL.
ON_POSTGRESQL = os.environ.get("DATABASE_URL", "").startswith("postgres")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/deploy/" in item.nodeid and "test_files" not in item.nodeid:
            # One process for all of them: they share what they start.
            item.add_marker(pytest.mark.xdist_group("deploy"))


def need(program: str) -> None:
    """Skip where `program` is missing; on the build machine its absence is a failure."""
    if not parts.installed(program) and not os.environ.get("CI"):
        pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="session")
def database():
    if not ON_POSTGRESQL:
        pytest.skip("runs with the tests of PostgreSQL: python -m tests.postgres pytest")
    need("nginx")
    # Not pytest's directory: PostgreSQL runs as somebody else where the tests run as root, and
    # pytest keeps its own to itself.
    with tempfile.TemporaryDirectory(prefix="chain-") as directory:
        database = parts.Database(Path(directory))
        yield database
        database.close()


@pytest.fixture(scope="session")
def chain(database, tmp_path_factory):
    """PostgreSQL, the service with two workers, and Nginx; tests leave it serving."""
    chain = parts.Chain(database, tmp_path_factory.mktemp("chain"), workers=2)
    yield chain
    chain.close()
