"""Several worker processes of the real server act as one: their limits and their metrics."""

import json
import os
import re
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.config.test_server import HOST, STARTUP_SECONDS, Server, database_url, name_change

__all__ = ["database_url"]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workers")]
LIMIT = 60
CALLS = 100
TOKEN = secrets.token_urlsafe(50)
ROUTE = "web/v1/workspaces/<str:workspace_id>/stripe/connections/update"


@pytest.fixture(scope="module")
def metrics_directory(tmp_path_factory: Any) -> Path:
    """With a file in it that a server before this one has left."""
    directory: Path = tmp_path_factory.mktemp("metrics")
    (directory / "counter_1.db").write_bytes(b"left over")
    return directory


@pytest.fixture(scope="module")
def server(database_url: str, metrics_directory: Path, tmp_path_factory: Any) -> Iterator[Server]:
    started = Server(
        database_url,
        tmp_path_factory.mktemp("log") / "server.log",
        "--workers",
        "2",
        METRICS_TOKEN=TOKEN,
        PROMETHEUS_MULTIPROC_DIR=str(metrics_directory),
        THROTTLE_USER=f"{LIMIT}/day",
        THROTTLE_WORKSPACE="1000000/day",
    )
    yield started
    started.process.terminate()
    started.process.wait(STARTUP_SECONDS)


@pytest.fixture(scope="module")
def statuses(server: Server) -> Counter[int]:
    """What many updates at once were answered, each over a connection of its own."""
    with ThreadPoolExecutor(8) as pool:
        requests = [server.request(name_change(f"Name {number}")) for number in range(CALLS)]
        return Counter(status for status, _ in pool.map(server.ask, requests))


def get(server: Server, path: str, **headers: str) -> tuple[int, str]:
    connection = HTTPConnection(HOST, server.port, STARTUP_SECONDS)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def updates(server: Server) -> dict[str, float]:
    """The counts of answered updates by code, of both workers together."""
    status, page = get(server, "/metrics", Authorization=f"Bearer {TOKEN}")
    assert status == 200
    line = rf'http_requests_total{{code="(\d+)",method="POST",route="{re.escape(ROUTE)}"}} (\S+)'
    return {code: float(count) for code, count in re.findall(line, page)}


def pids(directory: Path, kind: str = "counter") -> set[int]:
    return {int(file.stem.rpartition("_")[2]) for file in directory.glob(f"{kind}_*.db")}


def test_processes_together_keep_to_the_limit(statuses):
    assert statuses == {200: LIMIT, 429: CALLS - LIMIT}


def test_metrics_are_of_all_processes(server, statuses, metrics_directory):
    assert len(pids(metrics_directory)) == 2
    assert updates(server) == {"200": LIMIT, "429": CALLS - LIMIT}


def test_probes_answer_by_address(server):
    assert get(server, "/healthz") == (200, '{"status": "ok"}')
    assert get(server, "/readyz") == (200, '{"status": "ok"}')
    assert get(server, "/metrics") == (404, "")


def test_lines_of_the_log_are_objects(server, statuses):
    lines = [json.loads(text) for text in server.log.read_text().splitlines() if text[:1] == "{"]

    found = [line for line in lines if line.get("route") == ROUTE]
    assert Counter(line["status"] for line in found) == statuses
    assert {line["connection"] for line in found if line["status"] == 200} == {"sc_abc123"}
    assert {line["workspace"] for line in found} == {"ws_demo"}
    assert max(line["queries"] for line in found if line["status"] == 200) >= 2


def test_killed_worker_is_replaced_and_what_it_counted_stays(server, statuses, metrics_directory):
    before = pids(metrics_directory)
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + STARTUP_SECONDS
    while pids(metrics_directory) == before and time.monotonic() < deadline:
        time.sleep(0.05)
        get(server, "/healthz")

    assert updates(server) == {"200": LIMIT, "429": CALLS - LIMIT}
    assert len(pids(metrics_directory, "gauge_livesum") - {killed}) == 2
    assert killed not in pids(metrics_directory, "gauge_livesum")
    assert server.ask(server.request(name_change("Late")))[0] == 429
