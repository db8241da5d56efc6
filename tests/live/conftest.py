"""One server with demo data for all tests of this directory."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.site import Site, empty_database, running


@pytest.fixture(scope="session")
def live(tmp_path_factory: Any) -> Iterator[Site]:
    """Without a limit of calls, because these tests send many."""
    with (
        empty_database(tmp_path_factory.mktemp("live")) as database_url,
        running(database_url, THROTTLE_TOKEN="", THROTTLE_USER="", THROTTLE_WORKSPACE="") as site,
    ):
        yield site
